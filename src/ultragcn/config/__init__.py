"""Configuration: how options are declared, the hyper-parameters of UltraGCN, and the files that give them."""

from ultragcn.config.declare import AUTO, HyperParameters, checked, help_of, in_text, kind_of, parameter, seed_parameter
from ultragcn.config.files import ConfigFile, configs_folder, configuration_for, kept_configuration, read_config
from ultragcn.config.ultragcn import AUTHORS_NAMES, PARAMETERS, TOPICS, Config, known_names, parse_value

__all__ = [
    "AUTHORS_NAMES", "AUTO", "PARAMETERS", "TOPICS", "Config", "ConfigFile", "HyperParameters", "checked", "configs_folder",
    "configuration_for", "help_of", "in_text", "kept_configuration", "kind_of", "known_names", "parameter", "parse_value", "read_config",
    "seed_parameter",
]  # fmt: skip
