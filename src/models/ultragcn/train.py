"""Training of UltraGCN with the configuration published for its data set, except for what the user chose."""

from collections.abc import Mapping
from typing import Any

import torch

from models.ultragcn.model import UltraGCN
from ultragcn import Dataset
from ultragcn.config import configuration_for
from utils import ProgressBars, log_param

DATASETS = "recommendation"
# None: what the configuration of the data set says (configs/).
DEFAULTS = {"batch_size": None, "epochs": None, "learning_rate": None}


class Trainer:
    """Trains an `UltraGCN` on `device`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def train_with_hyper_param(self, train_data: Dataset, hyper_param: Mapping[str, Any], verbose: bool = False) -> UltraGCN:
        """Return a model trained on `train_data.train`; `train_data.valid` chooses the epoch to keep.

        Parameters
        ----------
        train_data : Dataset
            A data set of the library.
        hyper_param : mapping
            Values for the library's hyper-parameters by their names; None leaves one as configured for the data set.
        verbose : bool
            Log the whole configuration and show progress bars.
        """
        chosen = {name: value for name, value in hyper_param.items() if value is not None}
        if chosen.get("seed") == -1:
            chosen["seed"] = None
        config = configuration_for(train_data.tuned_as, **chosen)
        if config.solver == "sgd":
            config = config.replace(device=self.device.type)
        if verbose:
            log_param(config.to_dict())
        progress = ProgressBars() if verbose else None
        model = UltraGCN(config).fit(train_data.train, valid=train_data.valid, progress=progress)
        if verbose and config.seed is None:
            log_param({"seed drawn": model.seed_})
        return model
