"""Answer over HTTP what a run recommends, and show a page where anybody can try it."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ultragcn.cli import threads
from ultragcn.cli.messages import tell
from ultragcn.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from ultragcn.serving.engine import Engine

KEY = "ULTRAGCN_KEY"
_LEAST_KEY = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("run_folder", metavar="RUN", nargs="?", help="a folder that ultragcn train wrote, or save of any model")
    what.add_argument("--demo", action="store_true", help="train a model on the built-in data and serve it; needs no RUN")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address on which the server listens (default: 127.0.0.1, for this machine alone)",
    )
    parser.add_argument(
        "--port", type=int, default=8000, metavar="N", help="port on which the server listens (default: 8000); 0 means any free port"
    )
    parser.add_argument(
        "--key_file", metavar="FILE",
        help=f"demand the key in this file, as Authorization: Bearer KEY; at least {_LEAST_KEY} characters; {KEY} may hold the key too",
    )  # fmt: skip
    parser.add_argument("--without_key", action="store_true", help="listen to other machines without a key")
    parser.add_argument(
        "--allowed_hosts", nargs="+", action="extend", default=[], metavar="NAME",
        help="host names under which the server answers, such as shop.example.com; '*' means all names (default: its own address, "
        "or all names if it listens to other machines)",
    )  # fmt: skip
    parser.add_argument(
        "--admin_port",
        type=int,
        metavar="N",
        help="also listen on this port of 127.0.0.1 for POST /admin/reload (SIGHUP always reloads the model)",
    )
    parser.add_argument("--rules", metavar="FILE", help="a TOML file of named rules, which requests may use")
    parser.add_argument(
        "--items_table",
        metavar="FILE",
        help="a table of item ids and anything else known of the items (default: the table kept with the run)",
    )
    parser.add_argument(
        "--most_wait", type=float, default=25.0, metavar="MS",
        help="refuse requests (503) while more than this many milliseconds of work wait (default: 25)",
    )  # fmt: skip
    threads.add_argument(parser, " (here: 1, beside the one that speaks HTTP)")


def advice(option: str, argv: Sequence[str]) -> str:
    """Return which option is meant by one that looks like it; else an empty string."""
    instead = {"--bind": "--host", "--address": "--host", "--key": "--key_file", "--api_key": "--key_file", "--hosts": "--allowed_hosts",
               "--no_key": "--without_key"}  # fmt: skip
    return f"; did you mean {instead[option]}?" if option in instead else ""


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn serve`."""
    try:
        import httptools  # noqa: F401
        import msgspec  # noqa: F401
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"ultragcn serve needs {error.name}; install it with: pip install 'ultragcn[serve]'") from error
    from ultragcn.serving.engine import Engine
    from ultragcn.serving.server import Options, serve

    for option in ("port", "admin_port"):
        number = getattr(arguments, option)
        if number is not None and not 0 <= number <= 65535:
            raise UsageError(f"--{option} must be a whole number from 0 to 65535, not {number}")
    if not 1 <= arguments.most_wait <= 60_000:
        raise UsageError(f"--most_wait must be a number of milliseconds from 1 to 60000, not {arguments.most_wait:g}")
    options = Options(
        arguments.host, arguments.port, arguments.admin_port, _key(arguments.key_file), tuple(arguments.allowed_hosts),
        arguments.without_key, arguments.most_wait / 1000,
    )  # fmt: skip
    options.check()
    with ExitStack() as stack:
        folder = arguments.run_folder
        if arguments.demo:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ultragcn-demo-"))
            _train_demo(Path(folder))

        def make() -> "Engine":
            return Engine(folder, arguments.rules, arguments.items_table, threads.number_of(arguments) or 1)

        serve(make, "the demo" if arguments.demo else folder, options, tell)
    return 0


def _key(file: str | None) -> str | None:
    """Return the key in a file, or in the environment; None where there is none."""
    where, text = KEY, os.environ.get(KEY)
    if file is not None:
        where = file
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read --key_file {file}: {getattr(error, 'strerror', None) or error}") from error
    if text is None:
        return None
    key = text.strip()
    if len(key) < _LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(
            f"the key in {where} must have {_LEAST_KEY} or more characters: letters, digits or signs of ASCII, and no space; python -c "
            "'import secrets; print(secrets.token_urlsafe())' makes one"
        )
    return key


def _train_demo(folder: Path) -> None:
    """Train on the built-in data."""
    from ultragcn import UltraGCN, load_dataset

    tell("training on the built-in data")
    data = load_dataset("demo")
    model = UltraGCN(seed=0).fit(data).refit(data)
    model.save(folder)
