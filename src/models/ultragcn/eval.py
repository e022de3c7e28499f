"""Evaluation of UltraGCN: all items ranked for every test user, those seen in training left out."""

import torch

import ultragcn
from models.ultragcn.model import UltraGCN


class Evaluator:
    """Evaluates an `UltraGCN`; the library ranks on the CPU, whatever `device` is."""

    METRICS = ("recall@20", "ndcg@20")

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def evaluate(self, model: UltraGCN, test_data: ultragcn.Interactions) -> dict[str, float]:
        """Return the means over the test users of the metrics that the papers report."""
        return ultragcn.evaluate(model, test_data, metrics=list(self.METRICS))
