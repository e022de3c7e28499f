"""Evaluation of `MyModel`: how many test images it gets right."""

import torch
from torch.utils.data import TensorDataset

from models.mymodel.model import MyModel


class Evaluator:
    """Evaluates a `MyModel` on `device`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @torch.no_grad()
    def evaluate(self, model: MyModel, test_data: TensorDataset) -> dict[str, float]:
        """Return the accuracy: the fraction of test images whose most probable class is the right one."""
        images, labels = (tensor.to(self.device) for tensor in test_data.tensors)
        model.eval()
        return {"accuracy": (model(images).argmax(dim=1) == labels).double().mean().item()}
