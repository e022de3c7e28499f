"""What all public verbs of a model have in common."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ultragcn.config.foreign_names import unknown_parameter
from ultragcn.errors import UltraGCNError, UsageError
from ultragcn.machine import ran_out

_Verb = TypeVar("_Verb", bound=Callable[..., Any])
NUM_THREADS = inspect.Parameter("num_threads", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=int | None)
"""A parameter of every model, in its signature."""


def verb(method: _Verb) -> _Verb:
    """Mark a method as a verb.

    Names that other libraries have for its arguments lead to ours, work keeps to `num_threads`, and memory that runs out is one sentence.
    """
    parameters = list(inspect.signature(method).parameters.values())[1:]
    names = [parameter.name for parameter in parameters]
    takes_others = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)  # and checks their names itself

    @functools.wraps(method)
    def call(self: Any, /, *given: Any, **named: Any) -> Any:
        for name in () if takes_others else named:
            if name not in names:
                raise unknown_parameter(f"argument of {method.__name__}", name, names)
        with self._limited(method.__name__):
            try:
                return method(self, *given, **named)
            except (MemoryError, OSError, RuntimeError) as error:
                if isinstance(error, UltraGCNError) or (short := ran_out(error)) is None:
                    raise
                raise short from error

    return cast(_Verb, call)


def refuse_positional(model: type, given: tuple[Any, ...], first: str) -> None:
    """Raise `UsageError` if hyper-parameters were given without their names."""
    if given:
        raise UsageError(f"hyper-parameters of {model.__name__} go by name, such as {model.__name__}({first}={given[0]!r})")
