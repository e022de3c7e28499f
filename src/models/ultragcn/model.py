"""The model is the library's own estimator."""

from ultragcn import UltraGCN

__all__ = ["UltraGCN"]
