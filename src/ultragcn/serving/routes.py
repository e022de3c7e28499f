"""The routes of the server, declared once: the application and the OpenAPI document are made from this list."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import asdict

from ultragcn.serving import messages
from ultragcn.serving.engine import Engine
from ultragcn.serving.worker import BATCH, LISTS, kind_of_list

Question = Any
JSON = "application/json"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
_ANSWERED = (400, 422, 503)


@dataclass(frozen=True)
class Route:
    """A route that is answered by the compute thread.

    Attributes
    ----------
    method, path : str
        A parameter of the path stands in braces.
    name : str
        Of the operation.
    summary : str
    answer : type
        The message that it answers with.
    form : type
        What its parameters, or its body, are read into.
    in_body : bool
        Whether the question is a JSON body, else parameters of the URL.
    kind : str
        Questions of a kind cost alike.
    question : callable, optional
        From the parameter of the path and the form to what is asked.
    call : callable, optional
        From the parameter of the path and the form to what the engine does; None for lists and batches.
    can_be_unknown : bool
        Whether it answers 404 where the model does not know an id.
    """

    method: str
    path: str
    name: str
    summary: str
    answer: type[Any]
    form: type[Any]
    kind: str
    in_body: bool = False
    question: Callable[[str, Any], Question] = field(default=lambda _, form: form)
    call: Callable[[str, Any], Callable[[Engine], Any] | None] = field(default=lambda *_: None)
    can_be_unknown: bool = True

    @property
    def parameter(self) -> str | None:
        """The parameter of the path."""
        return self.path.partition("{")[2].rstrip("}") or None

    @property
    def statuses(self) -> tuple[int, ...]:
        """What it answers with besides 200."""
        return (*_ANSWERED, *((404,) if self.can_be_unknown else ()), *((408, 413) if self.in_body else ()))


def kind_of(route: Route, question: Question) -> str:
    """Return the kind of a question, by what it costs."""
    return kind_of_list(question) if isinstance(question, messages.ListQuestion) else route.kind


ROUTES = (
    Route(
        "POST", "/recommend", "recommendFor", "List items for a user, or for somebody by what they have", messages.Answer,
        messages.ListQuestion, LISTS, in_body=True,
    ),
    Route(
        "POST", "/recommend/batch", "recommendBatch", "List items for several", messages.Answers, messages.Batch, BATCH, in_body=True,
        can_be_unknown=False,
    ),
    Route(
        "GET", "/recommend/{user}", "recommend", "List items for a known user", messages.Answer, messages.UserQuestion, LISTS,
        question=lambda user, form: messages.ListQuestion(user=user, **asdict(form)),
    ),
    Route(
        "GET", "/similar/{item}", "similar", "List the items most like one", messages.SimilarItems, messages.SimilarQuestion, "similar",
        call=lambda item, form: lambda engine: engine.similar(item, form),
    ),
    Route(
        "GET", "/history/{user}", "history", "List what a known user has", messages.FoundItems, messages.HistoryQuestion, "items",
        call=lambda user, form: lambda engine: engine.history(user, form),
    ),
    Route(
        "POST", "/score", "score", "Score items with a known user", messages.Scores, messages.ScoreQuestion, "score", in_body=True,
        call=lambda _, form: lambda engine: engine.scores(form),
    ),
    Route(
        "GET", "/explain", "explain", "Say what a score is made of", messages.Explained, messages.ExplainQuestion, "explain",
        call=lambda _, form: lambda engine: engine.explain(form),
    ),
    Route(
        "GET", "/items", "items", "Look up items by a part of their title or id, or by ids", messages.FoundItems, messages.ItemsQuestion,
        "items", call=lambda _, form: lambda engine: engine.items(form), can_be_unknown=False,
    ),
    Route(
        "GET", "/popular", "popular", "List the items that most users have", messages.Answer, messages.PopularQuestion, "popular",
        call=lambda _, form: lambda engine: engine.popular(form), can_be_unknown=False,
    ),
    Route(
        "GET", "/model", "model", "Say which model answers", messages.About, messages.NoQuestion, "about",
        call=lambda *_: lambda engine: engine.about, can_be_unknown=False,
    ),
)  # fmt: skip
