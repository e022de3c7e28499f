"""The load generator measures what people would wait: against a server that takes a known time, and one that stops for a moment."""

import importlib
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
REQUESTS = ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the generator needs Linux")


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("load")
    finally:
        sys.path.remove(str(BENCHMARKS))


@contextmanager
def sleeper(*options):
    """Yield the port of a server that takes a known time."""
    with subprocess.Popen(
        [sys.executable, str(BENCHMARKS / "sleeper.py"), *map(str, options)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def test_the_median_is_what_the_server_takes(script):
    with sleeper("--milliseconds", 30) as port:
        found = script.measured(script.Plan(port, REQUESTS, rate=100, seconds=2))
    assert found["ok"] == found["requests"] > 100
    assert found["failed"] == found["refused"] == found["other"] == 0
    assert 29.5 < found["p50_ms"] < 45  # a busy machine adds some
    assert found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]


def test_a_server_that_stops_once_is_charged_for_every_request_of_that_time(script):
    with sleeper("--stall_at", 100, "--stall", 400) as port:
        found = script.measured(script.Plan(port, REQUESTS, rate=200, seconds=2))
        alone = script.measured(script.Plan(port, REQUESTS, rate=200, seconds=2))
    # Of 400 requests, 80 come while it stops. A generator that waits for answers would send one of them.
    assert found["max_ms"] > 390
    assert found["p99_ms"] > 300
    assert alone["p99_ms"] < found["p99_ms"]
    with sleeper("--stall_at", 100, "--stall", 400) as port:
        closed = script.measured(script.Plan(port, REQUESTS, seconds=1, connections=1))
    assert closed["max_ms"] > 390
    assert closed["p99_ms"] < 100


def test_arrivals_are_a_poisson_process_of_the_rate_and_the_same_for_a_seed(script):
    with sleeper() as port:
        first, again, other = (script.measured(script.Plan(port, REQUESTS, rate=500, seconds=2, seed=seed)) for seed in (1, 1, 2))
    assert first["requests"] == again["requests"] != other["requests"]
    for found in (first, other):  # the mean of a Poisson number is 1000, its deviation 32
        assert 850 < found["requests"] < 1150


def test_without_a_rate_it_asks_again_as_soon_as_there_is_an_answer(script):
    with sleeper("--milliseconds", 20) as port:
        found = script.measured(script.Plan(port, REQUESTS, seconds=2, connections=4))
        some = script.measured(script.Plan(port, REQUESTS, seconds=60, connections=4, most=25))
    assert 80 < found["per_second"] <= 4 / 0.02
    assert found["connections"] == 4
    assert some["requests"] == some["ok"] == 25


def test_requests_without_an_answer_have_failed(script):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        found = script.measured(script.Plan(port, REQUESTS, rate=50, seconds=1))
        assert found["failed"] == found["requests"] > 20
        one.listen()
        found = script.measured(script.Plan(port, REQUESTS, rate=50, seconds=1, timeout=0.5))
    assert found["failed"] == found["requests"] > 20
    assert found["statuses"] == {"0": found["requests"]}


def test_answers_are_told_apart_by_their_status_and_kept_on_request(script, tmp_path):
    answers = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
statuses = 0
while True:
    connection, _ = listener.accept()
    while data := connection.recv(65536):
        for _ in range(data.count(b"\\r\\n\\r\\n")):
            statuses += 1
            status = (200, 503, 404)[statuses % 3]
            body = b'{"number":\\n%d}' % statuses
            head = b"HTTP/1.1 %d Some\\r\\nContent-Length: %d\\r\\n\\r\\n" % (status, len(body))
            connection.sendall(head)
            connection.sendall(body)
"""
    with subprocess.Popen([sys.executable, "-c", answers], stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline())
            kept = tmp_path / "kept"
            plan = script.Plan(port, REQUESTS, seconds=30, connections=1, most=30, keep=str(kept))
            found = script.measured(plan)
        finally:
            process.terminate()
    assert found["statuses"] == {"200": 10, "404": 10, "503": 10}
    assert (found["ok"], found["refused"], found["other"], found["failed"]) == (10, 10, 10, 0)
    assert kept.read_text().splitlines() == [f'{{"number": {number}}}' for number in range(1, 31)]


def test_a_result_is_marked_where_the_generator_was_late(script):
    plan = script.Plan(1, REQUESTS)
    for lag, is_late in ((0.0005, False), (0.0015, True)):
        generator = script._Generator(plan)
        generator.due, generator.noticed = [1.0] * 10, [1.0 + lag] * 10
        generator.done, generator.statuses = [1.01] * 10, [200] * 10
        figures = generator._figures(1.0, 0.0)
        assert figures["late"] is is_late
        assert figures["p50_ms"] == pytest.approx(10)
        generator.poller.close()
