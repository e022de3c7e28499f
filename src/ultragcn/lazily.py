"""polars, loaded when something of it is first used.

Loading a model and ranking with it need no frames. What only does that, such as a server, starts sooner and stays smaller.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
else:

    class _Polars:
        """Stands for the package until it is needed."""

        def __getattr__(self, name: str) -> Any:
            import polars

            value = getattr(polars, name)
            setattr(self, name, value)
            return value

    pl = _Polars()

__all__ = ["pl"]
