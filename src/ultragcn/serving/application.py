"""The application: routes, limits, key, host names, log and metrics around an engine."""

import hmac
import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as Mounted
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ultragcn.errors import UsageError
from ultragcn.serving import messages, openapi
from ultragcn.serving.observing import Log, Metrics
from ultragcn.serving.routes import JSON, ROUTES, TEXT, Route, kind_of
from ultragcn.serving.worker import BUSY, BusyError, Worker

BODY_BYTES = 1_000_000
"""Of a request at most."""
RETRY_AFTER = "1"
READY_AGAIN = 1
"""Seconds after which to ask again whether the server is ready."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ENCODER = msgspec.json.Encoder()
_PAGE = Path(__file__).parent / "page"
_FILES = {"/": ("index.html", "text/html; charset=utf-8"), "/page.css": ("page.css", "text/css; charset=utf-8"),
          "/page.js": ("page.js", "text/javascript; charset=utf-8"), "/page.svg": ("page.svg", "image/svg+xml")}  # fmt: skip
"""Of the page, by path."""
_OPEN = frozenset({*_FILES, "/health/live", "/health/ready", "/favicon.ico"})
"""Paths that demand no key: the page itself holds no data, and a health check has no key to give."""
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "cache-control": "no-cache", "referrer-policy": "no-referrer",
}  # fmt: skip
RELOAD = "/admin/reload"


@dataclass
class Settings:
    """How the server is guarded.

    Attributes
    ----------
    key : bytes, optional
        What every request must give, as `Authorization: Bearer KEY`.
    hosts : frozenset of str, optional
        Names in the Host header under which it answers, in small letters; None: all.
    admin_port : int, optional
        The port on which it can be told to reload.
    """

    key: bytes | None = None
    hosts: frozenset[str] | None = None
    admin_port: int | None = None


class Application:
    """The whole server but its sockets.

    Parameters
    ----------
    worker : Worker
    settings : Settings
    log : Log
    metrics : Metrics
    reload : callable, optional
        What exchanges the model: returns the answer, or raises `UsageError` and keeps the old one.
    """

    def __init__(
        self, worker: Worker, settings: Settings, log: Log, metrics: Metrics,
        reload: Callable[[], Awaitable[messages.Reloaded]] | None = None,
    ) -> None:  # fmt: skip
        self.worker, self.settings, self.log, self.metrics, self.reload = worker, settings, log, metrics, reload
        self.is_draining = False
        self.num_turned_away = 0
        """Requests that were refused unread since the log was last told."""
        self._document = msgspec.json.encode(openapi.document(settings.key is not None))
        self._questions = {(route.method, route.path.partition("{")[0]): f"{route.method} {route.path}" for route in ROUTES}
        """The names of the routes of questions, by method and by the path, or by the path before its parameter."""
        self._ids = itertools.count()
        self._prefix = secrets.token_hex(4)
        mounted = [Mounted(_starlette_path(route), self._endpoint(route), methods=[route.method]) for route in ROUTES]
        mounted += [
            Mounted("/health/live", _fixed(lambda: (200, messages.State("live")))),
            Mounted("/health/ready", _fixed(self._ready)),
            Mounted("/metrics", self._metrics),
            Mounted("/openapi.json", self._openapi),
            Mounted(RELOAD, self._reload, methods=["POST"]),
            *(Mounted(path, _file(name, kind)) for path, (name, kind) in _FILES.items()),
        ]
        made = Starlette(routes=mounted, exception_handlers={HTTPException: _problem_of_http, Exception: self._fault})
        made.router.redirect_slashes = False
        self._app: ASGIApp = made

    # --------------------------------------------------------------- guarding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: check host and key, name it, time it, write the log."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1003})
            return
        started = time.perf_counter()
        headers = scope["headers"]
        given = _header(headers, b"x-request-id")
        request_id = self._request_id(given)
        about: dict[str, Any] = {"request_id": request_id, "route": "other", "model": None, "fallback": False}
        scope["ultragcn"] = about
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                await refusal(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.count(about["route"], status, seconds, about["fallback"])
            self.log.write(
                request_id=request_id, method=scope["method"], route=about["route"], status=status, ms=round(1000 * seconds, 2),
                model=about["model"], fallback=about["fallback"],
            )  # fmt: skip

    def _request_id(self, given: bytes | None = None) -> str:
        """Return the name that a request brings, or a new one."""
        return given.decode() if given and _REQUEST_ID.fullmatch(given) else f"{self._prefix}-{next(self._ids):x}"

    def refused_unread(self, status: int) -> str:
        """Count a request that the connection refuses, write it into the log, and return its name."""
        request_id = self._request_id()
        self.metrics.count("other", status, 0.0, False)
        self.log.write(request_id=request_id, method=None, route="other", status=status, ms=0.0, model=None, fallback=False)
        return request_id

    def _refusal(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> Response | None:
        """Return why a request is not looked at; None where it is."""
        path, settings = scope["path"], self.settings
        if settings.hosts is not None and _host_name(_header(headers, b"host")) not in settings.hosts:
            return problem(scope, 421, "this server does not answer under that host name; start it with --allowed_hosts NAME for that")
        is_admin = settings.admin_port is not None and (scope.get("server") or ("", 0))[1] == settings.admin_port
        if is_admin != (path == RELOAD):
            return problem(scope, 404, f"there is no {path!r} here")
        if settings.key is not None and path not in _OPEN:
            given = _header(headers, b"authorization") or b""
            scheme, _, key = given.partition(b" ")
            if not (hmac.compare_digest(key.strip(), settings.key) and scheme.lower() == b"bearer"):
                response = problem(scope, 401, "give the key of this server, as Authorization: Bearer KEY")
                response.headers["www-authenticate"] = "Bearer"
                return response
        return None

    def turned_away(self, method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> bytes | None:
        """Return the whole answer to a question that is refused for want of time, as bytes; None where it is not.

        The connection asks before a task is made for the request, and sends these bytes: the loop that refuses is the one that is short
        of time. The log counts such requests once a second.
        """
        if not self.worker.is_full:
            return None
        path = url.partition(b"?")[0].decode("latin-1")
        route = self._questions.get((method.decode("latin-1"), path)) or self._questions.get(
            (method.decode("latin-1"), path[: path.find("/", 1) + 1])
        )
        if route is None:
            return None
        self.metrics.count(route, 503, 0.0, False)
        self.num_turned_away += 1
        request_id = self._request_id(_header(headers, b"x-request-id"))
        body = _ENCODER.encode(messages.Problem(BUSY, request_id))
        head = (
            f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: {JSON}\r\nretry-after: {RETRY_AFTER}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nx-content-type-options: nosniff\r\n\r\n"
        )
        return head.encode() + body

    # --------------------------------------------------------------- answering

    def _endpoint(self, route: Route) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers a route."""
        decoder = msgspec.json.Decoder(route.form) if route.in_body else None

        async def endpoint(request: Request) -> Response:
            scope = request.scope
            about: MutableMapping[str, Any] = scope["ultragcn"]
            about["route"] = f"{route.method} {route.path}"
            wanted = scope["path_params"].get(route.parameter, "") if route.parameter else ""
            if route.parameter and not wanted:
                return problem(scope, 404, f"give the id of the {route.parameter} in the path, as {route.path}")
            if len(wanted) > messages.MOST_CHARACTERS:
                return problem(scope, 400, f"an id has at most {messages.MOST_CHARACTERS} characters, not {len(wanted)}")
            try:
                if decoder is not None:
                    if scope["query_string"]:
                        raise UsageError("this route takes a JSON body and no parameters in the URL")
                    form = messages.from_body(await _body(request), decoder, route.form)
                else:
                    form = messages.from_query(request.query_params.multi_items(), route.form)
            except msgspec.MsgspecError as error:
                return problem(scope, 400, messages.in_words(error, route.form))
            except UsageError as error:
                return problem(scope, 400, str(error))
            except _TooLongError:
                return _closing(problem(scope, 413, f"a request has at most {BODY_BYTES} bytes"))
            question = route.question(wanted, form)
            try:
                reply = await self.worker.ask(kind_of(route, question), question, route.call(wanted, form))
            except BusyError as error:
                return _again(problem(scope, 503, str(error)), error.seconds)
            about["model"], about["fallback"] = reply.model, reply.fallback
            if reply.error is None:
                return Response(reply.body, reply.status, media_type=JSON)
            refused = problem(scope, reply.status, reply.error)
            return _again(refused, reply.seconds) if reply.status == 503 else refused

        return endpoint

    def _ready(self) -> tuple[int, messages.State]:
        if self.is_draining:
            return 503, messages.State("draining")
        return (503, messages.State("starting")) if self.worker.is_warming else (200, messages.State("ready"))

    async def _metrics(self, request: Request) -> Response:
        request.scope["ultragcn"]["route"] = "GET /metrics"
        if refused := _no_parameters(request):
            return refused
        self.metrics.waiting.set(self.worker.num_waiting)
        return Response(self.metrics.text(), media_type=TEXT)

    async def _openapi(self, request: Request) -> Response:
        request.scope["ultragcn"]["route"] = "GET /openapi.json"
        return _no_parameters(request) or Response(self._document, media_type=JSON)

    async def _reload(self, request: Request) -> Response:
        request.scope["ultragcn"]["route"] = f"POST {RELOAD}"
        if self.reload is None:
            return problem(request.scope, 404, "this server cannot be told to reload")
        try:
            done = await self.reload()
        except UsageError as error:
            return problem(request.scope, 409, f"the old model goes on answering: {error}")
        return Response(_ENCODER.encode(done), media_type=JSON)

    async def _fault(self, request: Request, error: Exception) -> Response:
        if isinstance(error, ClientDisconnect):
            return problem(request.scope, 400, "the request ended before it was whole")
        return problem(request.scope, 500, "this is a fault of the server; its log says more")


class _TooLongError(Exception):
    """A body is longer than is taken."""


async def _body(request: Request) -> bytes:
    """Return the body of a request; raise `_TooLongError` as soon as it is too long."""
    length = _header(request.scope["headers"], b"content-length")
    if length is not None and length.isdigit() and int(length) > BODY_BYTES:
        raise _TooLongError
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES:
            raise _TooLongError
        parts.append(part)
    return b"".join(parts)


def problem(scope: Scope, status: int, message: str) -> Response:
    """Return an answer that says in a sentence why there is none."""
    about = scope.get("ultragcn") or {}
    return Response(_ENCODER.encode(messages.Problem(message, about.get("request_id", msgspec.UNSET))), status, media_type=JSON)


def _again(response: Response, seconds: int) -> Response:
    """Return an answer that says when to ask again."""
    response.headers["retry-after"] = str(seconds)
    return response


def _closing(response: Response) -> Response:
    response.headers["connection"] = "close"
    return response


def _no_parameters(request: Request) -> Response | None:
    """Return the refusal of parameters where a route takes none."""
    if not request.scope["query_string"]:
        return None
    return problem(request.scope, 400, "this route takes no parameters")


async def _problem_of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    says = {
        404: f"there is no {path!r} here; /openapi.json says what there is",
        405: f"{path!r} takes {(error.headers or {}).get('Allow', 'other methods')}, not {request.method}",
    }
    response = problem(request.scope, error.status_code, says.get(error.status_code, str(error.detail)))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def _fixed(state: Callable[[], tuple[int, messages.State]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        request.scope["ultragcn"]["route"] = f"GET {request.scope['path']}"
        status, answer = state()
        response = Response(_ENCODER.encode(answer), status, media_type=JSON)
        return _again(response, READY_AGAIN) if status == 503 else response

    return endpoint


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = (_PAGE / name).read_bytes()

    async def endpoint(request: Request) -> Response:
        request.scope["ultragcn"]["route"] = f"GET {request.scope['path']}"
        return Response(content, media_type=kind, headers=_PAGE_HEADERS)

    return endpoint


def _starlette_path(route: Route) -> str:
    return route.path if route.parameter is None else route.path.replace("}", ":path}")


def _header(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)


def _host_name(header: bytes | None) -> str:
    """Return the name in a Host header, without its port."""
    text = (header or b"").decode("latin-1").strip().lower()
    if text.startswith("["):
        return text.partition("]")[0].lstrip("[")
    return text.partition(":")[0]
