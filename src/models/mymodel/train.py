"""Training of `MyModel`: cross entropy, Adam, shuffled batches."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import TensorDataset

from models.mymodel.model import MyModel
from ultragcn.errors import NumericalError
from utils import one_thread, progress_bar

DATASETS = ("mnist", "digits")


class Trainer:
    """Trains a `MyModel` on `device`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def train_with_hyper_param(self, train_data: TensorDataset, hyper_param: Mapping[str, Any], verbose: bool = False) -> MyModel:
        """Return a model trained on images and labels.

        Parameters
        ----------
        train_data : TensorDataset
            Images (N, ...) of float32 and labels (N,) of int64, counted from 0.
        hyper_param : mapping
            `batch_size` (images), `epochs` (passes over the data) and `learning_rate` (of Adam).
        verbose : bool
            Show a bar for the epochs and one for the batches of the current epoch.

        Raises
        ------
        NumericalError
            The loss has left the range of floating-point numbers.
        """
        # All images fit into the memory of any device; picking batches out of one tensor is faster than a DataLoader.
        images, labels = (tensor.to(self.device) for tensor in train_data.tensors)
        model = MyModel(num_pixels=images[0].numel(), num_classes=int(labels.max()) + 1).to(self.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=hyper_param["learning_rate"])

        model.train()
        epochs = progress_bar(range(hyper_param["epochs"]), desc="epochs", unit="epoch", disable=not verbose)
        # In a layer this small, threads wait for each other longer than they compute.
        with one_thread(), epochs:
            for epoch in epochs:
                batches = torch.randperm(len(labels), device=self.device).split(hyper_param["batch_size"])
                total_loss = torch.zeros((), device=self.device)
                with progress_bar(batches, desc="batches", unit="batch", leave=False, disable=not verbose) as bar:
                    for batch in bar:
                        # The cross entropy, because the model returns logarithms of probabilities.
                        loss = torch.nn.functional.nll_loss(model(images[batch]), labels[batch])
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()
                        total_loss += loss.detach() * len(batch)
                mean_loss = total_loss.item() / len(labels)
                epochs.set_postfix(loss=f"{mean_loss:.4f}", refresh=False)
                if not torch.isfinite(total_loss):
                    raise NumericalError(
                        f"the loss is {mean_loss} after epoch {epoch + 1}; "
                        f"try a smaller --learning_rate than {hyper_param['learning_rate']}"
                    )
        return model
