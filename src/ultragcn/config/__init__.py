"""Configuration: how options are declared, the hyper-parameters of UltraGCN, and the files that give them."""

from ultragcn.config.declare import HyperParameters, checked, parameter
from ultragcn.config.files import ConfigFile, configs_folder, configuration_for, kept_configuration, read_config
from ultragcn.config.ultragcn import AUTHORS_NAMES, PARAMETERS, TOPICS, Config, our_names, parse_value

__all__ = [
    "AUTHORS_NAMES", "PARAMETERS", "TOPICS", "Config", "ConfigFile", "HyperParameters", "checked", "configs_folder",
    "configuration_for", "kept_configuration", "our_names", "parameter", "parse_value", "read_config",
]  # fmt: skip
