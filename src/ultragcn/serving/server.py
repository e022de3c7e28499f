"""The process that serves: sockets, signals, reloads and the end."""

import asyncio
import contextlib
import errno
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from ultragcn.errors import UltraGCNError, UsageError
from ultragcn.progress import LOGGER
from ultragcn.serving.application import Application, Settings
from ultragcn.serving.connections import Connection, check_all
from ultragcn.serving.engine import Engine
from ultragcn.serving.messages import Reloaded
from ultragcn.serving.observing import Log, Metrics
from ultragcn.serving.worker import Worker

KEEP_ALIVE = 75
"""Seconds that a connection waits for its next request: longer than a proxy keeps one."""
DRAIN = 30
"""Seconds in which requests that have begun are answered when the server ends."""
_SWITCH = 0.00005
"""Seconds after which one thread hands over to another, by default 0.005. In ten seconds of twice what the server can answer, accepted
answers took .30 s at the 99th percentile, and .69 s with 0.0005. How much it can answer did not change."""
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Options:
    """How a server is started.

    Attributes
    ----------
    host, port : str, int
        Where it listens; port 0 is any that is free.
    admin_port : int, optional
        Where it can be told to reload, on 127.0.0.1 alone.
    key : str, optional
        What every request must give.
    allowed_hosts : tuple of str, optional
        Names under which it answers besides that of its own address; "*" stands for all.
    needs_no_key : bool
        Whether it may listen to other machines without a key.
    most_wait : float
        Seconds of work that may wait before requests are refused.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    admin_port: int | None = None
    key: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    needs_no_key: bool = False
    most_wait: float = 0.025

    def check(self) -> None:
        """Raise `UsageError` where the server would be open to other machines without anybody having said so."""
        if not is_loopback(self.host) and self.key is None and not self.needs_no_key:
            raise UsageError(
                f"{self.host} can be reached from other machines, and no key is set; set one (--key_file FILE, or ULTRAGCN_KEY), say "
                "--without_key, or listen on 127.0.0.1"
            )

    @property
    def hosts(self) -> frozenset[str] | None:
        """Names under which it answers; None: all."""
        if "*" in self.allowed_hosts:
            return None
        named = frozenset(name.lower() for name in self.allowed_hosts)
        if is_loopback(self.host):
            return named | {*_LOCAL, self.host.lower()}
        return named | {*_LOCAL, self.host.lower()} if named else None


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class AddressInUseError(UltraGCNError):
    """Another process listens on the address. It may end, so whoever starts the server may try again."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise `AddressInUseError` or `UsageError` where the address is not to be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise UsageError(f"cannot listen on {host!r}, port {port}: {error}") from error
    try:
        if os.name != "nt":  # there it would allow two servers on one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        listener.close()
        code = getattr(error, "errno", None)
        advice = "give another with --port" if code in (errno.EADDRINUSE, errno.EACCES) else "give an address of this machine with --host"
        why = getattr(error, "strerror", None) or error
        refused: type[UltraGCNError] = AddressInUseError if code == errno.EADDRINUSE else UsageError
        raise refused(f"cannot listen on {host}, port {port}: {why}; {advice}") from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server, which ends with status 0 when it is told to, and looks after slow connections."""

    def __init__(self, config: uvicorn.Config, application: Application, reload: Callable[[], None], begun: Callable[[], None]) -> None:
        super().__init__(config)
        self._application, self._reload_soon, self._begun = application, reload, begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._begun()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle signals while the server runs."""
        loop = asyncio.get_running_loop()
        handled: dict[str, Callable[[], None]] = {"SIGTERM": self._end, "SIGINT": self._end, "SIGHUP": self._reload_soon}
        previous = {}
        for name, handle in handled.items():
            number = getattr(signal, name, None)
            if number is None:
                continue
            previous[number] = signal.getsignal(number)
            try:
                loop.add_signal_handler(number, handle)
            except (NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
                with contextlib.suppress(ValueError):
                    signal.signal(number, lambda *_, handle=handle: loop.call_soon_threadsafe(handle))
        try:
            yield
        finally:
            for number, handler in previous.items():
                with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                    loop.remove_signal_handler(number)
                with contextlib.suppress(ValueError, TypeError):
                    signal.signal(number, handler)

    def _end(self) -> None:
        self.force_exit = self.should_exit
        self._application.is_draining = True
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Look after connections once a second."""
        if counter % 10 == 0:
            check_all(self.server_state.connections)
            self._application.metrics.connections.set(len(self.server_state.connections))
            if number := self._application.num_turned_away:
                self._application.num_turned_away = 0
                self._application.log.write(event="requests turned away", status=503, number=number)
        return await super().on_tick(counter)


def serve(make: Callable[[], Engine], folder: str | Path, options: Options, tell: Callable[[str], None]) -> None:
    """Load a model, answer questions about it, and return when told to end.

    Parameters
    ----------
    make : callable
        Loads the model, at the start and at every reload.
    folder : str or Path
        Where it is loaded from, for messages.
    options : Options
    tell : callable
        What says a sentence to whoever started the server.

    Raises
    ------
    AddressInUseError
        Another process listens on the address.
    UsageError
        The address is not to be had, or the model cannot be loaded.
    """
    options.check()
    sockets = [listen(options.host, options.port)]
    if options.admin_port is not None:
        sockets.append(listen("127.0.0.1", options.admin_port))
    try:
        engine = make()
        engine.warm()
        gc.collect()
        gc.freeze()  # to search all that was imported for garbage stops every answer for a tenth of a second
        asyncio.run(_serve(engine, make, folder, options, sockets, tell))
    finally:
        gc.unfreeze()
        for one in sockets:
            one.close()


async def _serve(
    engine: Engine,
    make: Callable[[], Engine],
    folder: str | Path,
    options: Options,
    sockets: list[socket.socket],
    tell: Callable[[str], None],
) -> None:
    from ultragcn.kernels.numba_cpu.compiling import calling_when_a_kernel_is_compiled  # Numba is there: the engine has answered

    sys.setswitchinterval(_SWITCH)
    loop = asyncio.get_running_loop()
    log, metrics, said = Log(), Metrics(), contextlib.ExitStack()
    said.enter_context(_said_in(log))
    uvicorns = logging.getLogger("uvicorn.error")
    uvicorns.handlers, uvicorns.propagate = [_ToLog(log)], False
    uvicorns.setLevel(logging.ERROR)
    worker = Worker(engine, loop, options.most_wait)
    metrics.name_model(engine.id)
    loader = ThreadPoolExecutor(1, "ultragcn-load")

    async def reload() -> Reloaded:
        before = worker.engine.id
        try:
            new = await loop.run_in_executor(loader, _loaded, make)
        except UltraGCNError as error:
            metrics.reloaded("failed", before)
            log.write(event="reload failed", model=before, error=str(error))
            raise UsageError(str(error)) from error
        except Exception as error:
            metrics.reloaded("failed", before)
            log.write(event="reload failed", model=before, error=repr(error))
            raise UsageError(f"{folder} could not be loaded: {error}") from error
        worker.engine = new
        metrics.reloaded("done", new.id)
        log.write(event="reloaded", model=new.id, before=before)
        return Reloaded(new.id, new.id != before)

    def compiles() -> None:
        if not worker.is_compiling:
            log.write(event="kernels are being compiled; until then new users, reasons and similar items get 503")
        worker.compiles()

    def warm_rest() -> None:
        started = time.monotonic()
        try:
            with calling_when_a_kernel_is_compiled(compiles):
                engine.warm_rest()
        except Exception as error:
            log.write(event="the model could not be prepared for all questions; each is answered as far as it can be", error=repr(error))
        finally:
            event = "all kernels are compiled, and every question is answered" if worker.is_compiling else "every question is answered"
            log.write(event=event, seconds=round(time.monotonic() - started, 2))
            worker.warmed()

    worker.is_warming = True  # known users are answered meanwhile
    loop.run_in_executor(loader, warm_rest)
    tasks: set[asyncio.Task[None]] = set()

    async def reload_and_log() -> None:
        with contextlib.suppress(UsageError):  # the log has said it
            await reload()

    def reload_soon() -> None:
        task = asyncio.ensure_future(reload_and_log())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    where = sockets[0].getsockname()
    admin_port = sockets[1].getsockname()[1] if len(sockets) > 1 else None
    key = None if options.key is None else options.key.encode()
    application = Application(worker, Settings(key, options.hosts, admin_port), log, metrics, reload)
    config = uvicorn.Config(
        application, http=Connection, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, loop="asyncio", timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=DRAIN, backlog=2048,
    )  # fmt: skip
    name = f"[{where[0]}]" if ":" in where[0] else where[0]

    def begun() -> None:
        tell(f"{engine.id} of {folder} answers at http://{name}:{where[1]}/ (Ctrl+C ends it)")
        if admin_port is not None:
            tell(f"POST http://127.0.0.1:{admin_port}/admin/reload loads the model anew, as SIGHUP does")

    server = _Server(config, application, reload_soon, begun)
    try:
        await server.serve(sockets)
    finally:
        for task in tasks:
            task.cancel()
        worker.stop()
        log.write(event="ended")
        said.close()
        log.stop()
        loader.shutdown(wait=False, cancel_futures=True)


def _loaded(make: Callable[[], Engine]) -> Engine:
    engine = make()
    engine.warm()
    engine.warm_rest()
    return engine


@contextlib.contextmanager
def _said_in(log: Log) -> Generator[None, None, None]:
    """Write warnings, and what the library says, into the log of the server: each line of stderr is then JSON."""
    handlers, propagated, show = LOGGER.handlers, LOGGER.propagate, warnings.showwarning

    def show_in_log(message: Warning | str, *where: Any, **more: Any) -> None:
        log.write(event="warning", warning=str(message))

    LOGGER.handlers, LOGGER.propagate, warnings.showwarning = [_ToLog(log)], False, show_in_log
    try:
        yield
    finally:
        LOGGER.handlers, LOGGER.propagate, warnings.showwarning = handlers, propagated, show


class _ToLog(logging.Handler):
    """Writes what is logged elsewhere into the log of the server."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info and record.exc_info[0] else None
        self._log.write(event=record.getMessage(), **({"trace": trace} if trace else {}))
