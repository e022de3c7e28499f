"""What is asked and answered over HTTP, as typed messages: they are read, checked and documented from here.

Letters: K items of a list.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ultragcn.errors import UsageError, did_you_mean, unknown_name
from ultragcn.rules.named import values_of

MOST_IDS = 1000
"""Ids in one list of a request."""
MOST_ITEMS = 1000
"""K at most."""
MOST_QUESTIONS = 256
"""Questions in one batch."""
MOST_CHARACTERS = 1000
"""Of an id, a name or a text."""

_Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=MOST_CHARACTERS)]
Id = _Number | Text
"""An id as it is in the data: a whole number or a text. A number is also found by its text."""
Ids = Annotated[list[Id], Meta(max_length=MOST_IDS)]
Texts = Annotated[list[Text], Meta(max_length=MOST_IDS)]
"""Ids in a URL, where numbers are text."""
K = Annotated[int, Meta(ge=1, le=MOST_ITEMS)]
_Value = bool | _Number | float | Text
Value = _Value | Annotated[list[_Value], Meta(max_length=MOST_IDS)]
Names = Annotated[list[Text], Meta(max_length=32)]
Unknown = Literal["error", "raise", "popular", "skip"]


class Rule(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Which items a list may have, and how it is chosen: the rules of docs/rules.md, but for free conditions."""

    k: Annotated[K, Meta(description="Items of the list.")] = 20
    rule: Annotated[Names, Meta(description="Named rules of the server's file of rules; all of them hold.")] = []
    values: Annotated[dict[Text, Value], Meta(description="What placeholders of those rules stand for, by name.", max_length=32)] = {}
    max_per: Annotated[
        dict[Text, Annotated[int, Meta(ge=1, le=MOST_ITEMS)]],
        Meta(description="At most so many items with the same value of a column of the items table.", max_length=8),
    ] = {}
    diversity: Annotated[float, Meta(ge=0, le=1, description="From 0, by score alone, to 1, as unlike each other as can be.")] | None = None
    columns: Annotated[bool, Meta(description="Also give what the items table knows of each item.")] = False


class ListQuestion(Rule, kw_only=True, frozen=True):
    """Who gets a list, and by which rules."""

    user: Annotated[Id, Meta(description="A user of the model.")] | None = None
    items: Annotated[Ids, Meta(description="What somebody has whom the model has not seen; in place of user.")] = []
    add: Annotated[Ids, Meta(description="What the user has besides, since the model was trained. Nothing is stored.")] = []
    exclude: Annotated[Ids, Meta(description="Items that are never listed.")] = []
    only: Annotated[Ids, Meta(description="The only items that may be listed.")] | None = None
    include_seen: Annotated[bool, Meta(description="Also list what the user has.")] = False
    unknown: Annotated[
        Unknown,
        Meta(
            description="What a user gets whom the model does not know, or somebody with no known items: an error, the most popular items "
            "(flagged fallback), or an empty list. Without it, what the named rules say, else an error."
        ),
    ] | None = None  # fmt: skip
    explain: Annotated[bool, Meta(description="Also say which items of the user raise each score (because).")] = False


class UserQuestion(Rule, kw_only=True, frozen=True):
    """By which rules a known user gets a list."""

    add: Annotated[Texts, Meta(description="What the user has besides, since the model was trained. Nothing is stored.")] = []
    exclude: Annotated[Texts, Meta(description="Items that are never listed.")] = []
    only: Annotated[Texts, Meta(description="The only items that may be listed.")] | None = None
    include_seen: bool = False
    unknown: Unknown | None = None
    explain: bool = False


class Batch(Struct, forbid_unknown_fields=True, frozen=True):
    """Several questions at once."""

    questions: Annotated[list[ListQuestion], Meta(max_length=MOST_QUESTIONS)]


class ScoreQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """Which items are scored for a user."""

    user: Id
    items: Ids


class SimilarQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """How many items are listed that are like one, and by what they are alike."""

    k: K = 10
    by: Literal["together", "embeddings"] | None = None


class ExplainQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """Which score is explained: of a known user, or of somebody by what they have."""

    item: Text
    user: Text | None = None
    items: Texts = []
    k: K = 10


class ItemsQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """Which items are looked up: those in whose title or id the text stands, or those of these ids."""

    q: Text = ""
    id: Texts = []
    k: K = 10


class HistoryQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """How many of a user's items are listed."""

    k: K = 100


class PopularQuestion(Rule, frozen=True):
    """By which rules the most popular items are listed."""


class NoQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """A request without parameters."""


class Reason(Struct, omit_defaults=False, frozen=True):
    """An item that the user has, and its part in what raises a score."""

    item: Id
    share: Annotated[float, Meta(description="Of 1; the shares of all that raises the score add up to 1.")]
    title: str | UnsetType = UNSET


class Listed(Struct, frozen=True):
    """An item of a list."""

    item: Id
    score: Annotated[float, Meta(description="Only the order of a user's scores means something.")]
    title: str | UnsetType = UNSET
    because: list[Reason] | UnsetType = UNSET
    columns: Annotated[
        dict[str, str | int | float | bool], Meta(description="What the items table knows of it, by column; only where columns is true.")
    ] | UnsetType = UNSET  # fmt: skip


class UnknownIds(Struct, omit_defaults=True, frozen=True):
    """Ids of a request that the model does not know; they did not count."""

    items: list[Id] = []
    add: list[Id] = []
    exclude: list[Id] = []
    only: list[Id] = []


class Answer(Struct, frozen=True):
    """A list, best first."""

    items: list[Listed]
    fallback: Annotated[bool, Meta(description="Whether these are popular items, because the model does not know who asked.")]
    model: Annotated[str, Meta(description="Which model answered.")]
    user: Id | UnsetType = UNSET
    unknown: UnknownIds | UnsetType = UNSET
    notes: Annotated[list[str], Meta(description="Named rules that do not hold today.")] | UnsetType = UNSET


class Problem(Struct, frozen=True):
    """Why there is no answer, in a sentence."""

    error: str
    request_id: str | UnsetType = UNSET


class OneOfBatch(Struct, frozen=True):
    """The answer to one question of a batch, or why there is none."""

    answer: Answer | UnsetType = UNSET
    error: str | UnsetType = UNSET


class Answers(Struct, frozen=True):
    """The answers to a batch, in the order of its questions."""

    answers: list[OneOfBatch]


class Scored(Struct, frozen=True):
    """An item and its score."""

    item: Id
    score: float


class Scores(Struct, frozen=True):
    """Scores of items with a user: the same numbers that rank."""

    user: Id
    items: list[Scored]
    model: str
    unknown: UnknownIds | UnsetType = UNSET


class SimilarItems(Struct, frozen=True):
    """The items most like one, the most similar first."""

    item: Id
    items: list[Listed]
    model: str


class Contribution(Struct, frozen=True):
    """What an item of the user adds to a score."""

    item: Id
    contribution: float
    share: float
    title: str | UnsetType = UNSET


class Explained(Struct, frozen=True):
    """What a score is made of: reasons, others, trend and rest add up to it."""

    item: Id
    score: float
    reasons: list[Contribution]
    others: Annotated[float, Meta(description="What the reasons add that are not listed.")]
    trend: float
    rest: Annotated[float, Meta(description="What no single item of the user brings.")]
    words: Annotated[str, Meta(description="The strongest reasons, as a sentence.")]
    model: str
    user: Id | UnsetType = UNSET
    title: str | UnsetType = UNSET
    unknown: UnknownIds | UnsetType = UNSET


class Found(Struct, frozen=True):
    """An item that was looked up."""

    item: Id
    users: Annotated[int, Meta(description="How many users have it in what the model was trained on.")]
    title: str | UnsetType = UNSET


class FoundItems(Struct, frozen=True):
    """Items that were looked up; those that most users have come first."""

    items: list[Found]
    model: str
    unknown: UnknownIds | UnsetType = UNSET


class About(Struct, frozen=True):
    """The model that answers."""

    model: Annotated[str, Meta(description="Its kind and the checksum of its file.")]
    kind: str
    users: int
    items: int
    pairs: int
    titles: Annotated[bool, Meta(description="Whether items have titles.")]
    columns: Annotated[list[str], Meta(description="Columns of the items table, for max_per.")]
    rules: Annotated[list[str], Meta(description="Named rules.")]
    abilities: Annotated[list[str], Meta(description="What the model can do besides lists of known users.")]
    loaded: Annotated[str, Meta(description="When it was loaded, in UTC.")]
    version: Annotated[str, Meta(description="Of ultragcn.")]
    example_user: Annotated[Id, Meta(description="A user of the model, to try it with.")] | UnsetType = UNSET


class State(Struct, frozen=True):
    """Whether the server answers."""

    status: Literal["live", "ready", "starting", "draining"]


class Reloaded(Struct, frozen=True):
    """Which model answers after a reload."""

    model: str
    changed: bool


def from_query(pairs: Sequence[tuple[str, str]], form: type[Any]) -> Any:
    """Return the message of class `form` in the parameters of a URL.

    A parameter of a list may come several times. `value=NAME=VALUE` and `max_per=COLUMN=N` are as on the command line.

    Raises
    ------
    UsageError
        An unknown parameter, or one that comes twice where it may not.
    msgspec.ValidationError
        A value cannot be meant.

    Examples
    --------
    >>> from_query([("k", "5"), ("rule", "cheap"), ("value", "price=20")], PopularQuestion)
    PopularQuestion(k=5, rule=['cheap'], values={'price': 20}, max_per={}, diversity=None, columns=False)
    """
    kinds = _kinds_of(form)
    found: dict[str, Any] = {}
    values: list[str] = []
    _refuse_two_names([name for name, _ in pairs], kinds)
    for given, text in pairs:
        name = _our_name(given, kinds)
        if name == "value" and "values" in kinds:
            values.append(text)
        elif name not in kinds or name == "values":
            _refuse_where(name)
            if name in _kinds_of(ListQuestion) and name not in kinds and issubclass(form, Rule):
                advice = ", or name a rule" if name in ("exclude", "only") else ""
                raise UsageError(f"this route takes no {name}; give {name} in the body of POST /recommend{advice}")
            raise unknown_name("parameter", name, [("value" if one == "values" else one) for one in kinds] or ["none"])
        elif kinds[name] == "dict":
            key, equals, value = text.rpartition("=")
            if not equals or not key:
                raise UsageError(f"{name} is given as COLUMN=N, such as brand=2, not {text!r}")
            found.setdefault(name, {})[key] = value
        elif kinds[name] == "list":
            found.setdefault(name, []).append(text)
        elif name in found:
            raise UsageError(f"parameter {given} comes twice; give it once")
        elif kinds[name] == "one" and text.lower() == "null":  # which would be read as if nothing were given
            raise UsageError(f"{given} cannot be null; leave it out")
        else:
            found[name] = _whole_text(text) if name == "k" else text
    if values:
        found["values"] = values_of(values)
    made = msgspec.convert(found, form, strict=False)
    ids_called_null = {
        name: found[name] for name, kind in kinds.items() if kind == "text" and getattr(made, name) != found.get(name, getattr(made, name))
    }
    return msgspec.structs.replace(made, **ids_called_null) if ids_called_null else made


_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "array": "a list", "object": "an object",
          "null": "nothing"}  # fmt: skip
"""What the kinds of JSON are called in a sentence."""


def in_words(error: Exception, form: type[Any]) -> str:
    """Return what is wrong with a request as a sentence.

    Examples
    --------
    >>> try:
    ...     from_query([("k", "two")], PopularQuestion)
    ... except msgspec.ValidationError as error:
    ...     in_words(error, PopularQuestion)
    'k must be a whole number, not a text'
    """
    said, _, where = str(error).partition(" - at ")
    path = where.strip("`").removeprefix("$").lstrip(".")
    field = path or "the request"
    if found := re.fullmatch(r"Expected `(.+)`, got `(.+)`", said):
        wanted, given = (" or ".join(_WORDS.get(kind, kind) for kind in side.split(" | ")) for side in found.groups())
        given = "a number with a fraction" if given == _WORDS["float"] else given
        return f"{field} must be {wanted}, not {given}"
    if found := re.fullmatch(r"Expected `(.+)` (of length )?([<>]=) (\S+)", said):
        bound = "at most" if found[3] == "<=" else "at least"
        return f"{field} must have {bound} {found[4]} entries" if found[2] else f"{field} must be {bound} {found[4]}"
    if found := re.fullmatch(r"Invalid enum value '(.*)'", said, re.DOTALL):
        allowed = _choices(form, field.rpartition(".")[2])
        return f"{field} must be one of {', '.join(allowed)}, not {found[1]!r}{did_you_mean(found[1], allowed)}"
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", said, re.DOTALL):
        named = list(_kinds_of(ListQuestion if form is Batch and path else form))
        at, there = (f"{path}: ", "allowed there") if path else ("", "allowed")
        if found[1] == WHERE:
            return f"{at}{NO_WHERE}"
        return f"{at}there is no field {found[1]!r}{did_you_mean(found[1], named)} ({there}: {', '.join(named)})"
    if "truncated" in said:
        return "the body must be a whole JSON object"
    return f"the request cannot be read: {error}"


WHERE = "where"
NO_WHERE = (
    "a request takes no where; write the condition into a file of rules (ultragcn serve RUN --rules FILE), and name the rule: "
    "docs/rules.md says how"
)
OTHER_NAMES = {"top_k": "k", "user_id": "user"}
"""What the library and the command call some fields -> what they are called here. A request may use either name."""


def _our_name(given: str, kinds: Mapping[str, str]) -> str:
    """Return the name of a field that may be given under another one."""
    ours = OTHER_NAMES.get(given, given)
    return ours if ours in kinds else given


def _refuse_two_names(given: Iterable[str], kinds: Mapping[str, str]) -> None:
    names = set(given)
    for other, ours in OTHER_NAMES.items():
        if ours in kinds and {other, ours} <= names:
            raise UsageError(f"give {ours} or {other}, not both: they mean the same")


def _refuse_where(name: str) -> None:
    if name == WHERE:
        raise UsageError(NO_WHERE)


def _whole_text(text: str) -> str:
    """Return 3.0 as 3: in JSON Schema both are whole numbers."""
    return text.partition(".")[0] if re.fullmatch(r"[+-]?[0-9]+\.0+", text) else text


def from_body(content: bytes, decoder: "msgspec.json.Decoder[Any]", form: type[Any]) -> Any:
    """Return the message of class `form` in a JSON body, which `decoder` reads.

    A body that the decoder refuses is read once more: fields may have their other names, and whole numbers may be written as 3.0.

    Raises
    ------
    UsageError
        A field is given under both of its names.
    msgspec.MsgspecError
        It is not JSON, or a value cannot be meant.

    Examples
    --------
    >>> from_body(b'{"user_id": 7, "top_k": 3.0}', msgspec.json.Decoder(ListQuestion), ListQuestion).k
    3
    """
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        if not (re.search(r"got `float`|unknown field `|missing required field `", str(error))):
            raise
        try:
            plain = _in_our_words(msgspec.json.decode(content), form)
        except RecursionError:
            raise error from None
        return msgspec.convert(plain, form)


def _in_our_words(given: Any, form: type[Any]) -> Any:
    """Return what a body holds with the names of this module, and with whole numbers as such."""
    if form is Batch and isinstance(given, dict) and isinstance(given.get("questions"), list):
        return given | {"questions": [_in_our_words(one, ListQuestion) for one in given["questions"]]}
    if not isinstance(given, dict):
        return given
    kinds = _kinds_of(form)
    _refuse_two_names(given, kinds)
    return {(ours := _our_name(name, kinds)): value if ours in ("values", "diversity") else _whole(value) for name, value in given.items()}


def _whole(value: Any) -> Any:
    """Return 3.0 as 3, in lists and objects too."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return {name: _whole(one) for name, one in value.items()} if isinstance(value, dict) else value


def _choices(form: type[Any], field: str) -> list[str]:
    """Return the words that a field takes."""
    hints = get_type_hints(ListQuestion if form is Batch else form)
    kinds = (hints.get(field), *get_args(hints.get(field)))
    return [str(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]


_KINDS: dict[type[Any], Mapping[str, str]] = {}


def _kinds_of(form: type[Any]) -> Mapping[str, str]:
    """Return whether each field of a message is a dict, a list, a text or another value."""
    if form not in _KINDS:
        _KINDS[form] = {name: _kind_of(hint) for name, hint in get_type_hints(form).items()}
    return _KINDS[form]


def _kind_of(hint: Any) -> str:
    kinds = {get_origin(one) for one in (hint, *get_args(hint))}
    if dict in kinds or list in kinds:
        return "dict" if dict in kinds else "list"
    return "text" if str in (hint, *get_args(hint)) else "one"
