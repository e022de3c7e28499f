"""Refitting: what a trained model chose itself is kept, and nothing is left to choose."""

from typing import Any, TypeVar

_Model = TypeVar("_Model", bound=Any)


def chooses_epochs(model: Any) -> bool:
    """Return whether `model` chooses on held-out pairs for how many epochs it trains."""
    return "best_epoch_" in model._recorded


def unfitted_for_refit(model: _Model) -> _Model:
    """Return an untrained model with the settings of a trained one and what that chose itself, such as its number of epochs.

    It is to be trained on more pairs than the model was, with nothing left to choose on: on train and validation together, or on
    everything.

    Parameters
    ----------
    model : Recommender
        A fitted one, of any class.

    Returns
    -------
    Recommender
        Of the same class, not fitted.

    Examples
    --------
    >>> from ultragcn import UltraGCN, load_dataset
    >>> data = load_dataset("demo")
    >>> chosen = UltraGCN(embedding_dim=8, epochs=3).fit(data.train, valid=data.valid)
    >>> again = unfitted_for_refit(chosen)
    >>> again.config.epochs == chosen.best_epoch_
    True
    """
    unfitted: _Model = model.untrained()
    return unfitted
