"""A server in a process of its own, for tests."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
ADDRESS = re.compile(r"answers at (http://\S+)/ \(")


class Serving:
    """A server that runs: its address, its process and what it wrote."""

    def __init__(self, process, log):
        self.process, self.log = process, log
        self.url = self.admin = None

    def wait_until_ready(self, once=None):
        end = time.monotonic() + 240
        while time.monotonic() < end:
            said = self.log.read_text()
            if found := ADDRESS.search(said):
                self.url = found[1]
                if other := re.search(r"POST (http://\S+)/admin/reload", said):
                    self.admin = other[1]
                if once is not None:
                    once = once(self)
                if self.is_ready():
                    return
            assert self.process.poll() is None, said
            time.sleep(0.05)
        raise AssertionError(f"the server did not start: {self.log.read_text()}")

    def is_ready(self):
        """Whether every question is answered."""
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=10) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def lines(self):
        """What the log holds, as text."""
        return self.log.read_text().splitlines()


@contextmanager
def serving(folder, *words, once=None, **environment):
    """Run `ultragcn serve` on a free port; yield it once it is ready, and end it afterwards. `once` is called when it says its address."""
    clean = {name: value for name, value in os.environ.items() if name not in ("ULTRAGCN_KEY", "ULTRAGCN_DATA_DIR")}
    log = Path(folder).parent / f"serve-{time.monotonic_ns()}.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "ultragcn", "serve", str(folder), "--port", "0", *map(str, words)], stderr=stderr,
            stdout=subprocess.PIPE, env=clean | {"PYTHONPATH": str(SRC)} | environment,
        )  # fmt: skip
    server = Serving(process, log)
    try:
        server.wait_until_ready(once)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()
