"""What a value that was read from a file must look like: its types and names, checked before anything uses it.

A form is one of these:

`str`, `bool`, `object`     a text; true or false; anything
`int`, `float`, `FLOATING`  a whole number of 64 bits; a finite number; any number
`None`                      nothing (null)
`{"a", "b"}`                one of these texts
`(form, form)`              any of these forms
`[form]`                    a list of such values
`{str: form}`               an object, of any names, of such values
`{"name": form, ...}`       an object with these names, and perhaps others; `Optional("name")` may be missing
"""

import math
from typing import Any

FLOATING = complex
"""Any number, also one that is infinite or none at all."""
_WORDS = {
    FLOATING: "a number",
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    None: "null",
    dict: "an object",
}


class Optional(str):
    """A name that an object may lack."""


def misfit(value: Any, form: Any, name: str = "it") -> str | None:
    """Return what is wrong with `value`, as the end of a sentence; None when it has the form.

    Parameters
    ----------
    value : any
        What was read: of the types that JSON has.
    form : form
    name : str
        What the value is called.

    Examples
    --------
    >>> misfit({"seeds": [0, "x"]}, {"seeds": [int]}, "study.json")
    'seeds[1] must be a whole number'
    >>> misfit({"seeds": [0, 1]}, {"seeds": [int]}) is None
    True
    """
    match form:
        case tuple():
            found = [misfit(value, one, name) for one in form]
            deeper = (one for one in found if one is not None and not one.startswith(f"{name} must be"))
            return None if None in found else next(deeper, f"{name} must be {in_words(form)}")
        case list():
            if not isinstance(value, list):
                return f"{name} must be {in_words(form)}"
            return next((wrong for place, one in enumerate(value) if (wrong := misfit(one, form[0], f"{name}[{place}]"))), None)
        case dict():
            return _misfit_of_object(value, form, name)
    return None if _fits(value, form) else f"{name} must be {in_words(form)}"


def _misfit_of_object(value: Any, form: dict[Any, Any], name: str) -> str | None:
    if not isinstance(value, dict):
        return f"{name} must be an object"
    if str in form:
        return next((wrong for key, one in value.items() if (wrong := misfit(one, form[str], f"{name}.{key}"))), None)
    for key, of_key in form.items():
        if key not in value:
            if isinstance(key, Optional):
                continue
            return f"{name} must have {key}"
        if wrong := misfit(value[key], of_key, str(key)):
            return wrong
    return None


def _fits(value: Any, form: Any) -> bool:
    if isinstance(form, (set, frozenset)):
        return isinstance(value, str) and value in form
    if form is int:
        return is_whole(value)
    if form is FLOATING:
        return is_whole(value) or isinstance(value, float)
    if form is float:
        return is_finite(value)
    return value is None if form is None else isinstance(value, form)


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number that 64 bits hold."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_finite(value: Any) -> bool:
    """Return whether a value is a number within the range of floating-point numbers."""
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def in_words(form: Any) -> str:
    """Return what a form allows."""
    match form:
        case tuple():
            return " or ".join(in_words(one) for one in form)
        case list():
            return "a list"
        case dict():
            return "an object"
        case set() | frozenset():
            return f"one of {', '.join(sorted(form))}"
    return _WORDS.get(form, "something else")
