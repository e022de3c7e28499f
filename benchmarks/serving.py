"""How fast `ultragcn serve` answers, what it does when it has too much to do, and how implicit and cornac fare with the same data.

    python benchmarks/serving.py --run FOLDER [--scenarios LIST] [--rivals LIST] [--cornac PYTHON] [--seconds N] [--repeats N]
        [--requests N] [--reloads N] [--most N]

FOLDER is a run of `ultragcn train`, such as that of gowalla. Requests come at random moments at a fixed rate, and a latency counts from the
moment at which its request was meant to come (`load.py`). Each measurement is repeated, servers taking turns, and the medians are printed.

    alone      100 requests a second for lists of 20 items
    thousand   1,000 a second
    most       as many as are answered over 32 connections: wrk where it is installed, else the generator
    new        50 a second for people whom the model does not know, by 20 items each
    overload   twice what `most` found: what is accepted, and what is refused with 503
    memory     --requests requests, and by how much the memory of the server grows
    reloads    --reloads reloads under 500 a second, between two models without a common item; one of the files is damaged
    start      seconds from the command to an answer, and which of torch, polars and matplotlib are imported
    million    a made-up model of a million items and 64 dimensions: 10 a second, and 200 a second
    generator  what the generator can do by itself: 6,000 a second to a server that does nothing

`--rivals` is of implicit (its routes declared with `async def`), implicit-threads (with `def`) and cornac, whose Python is given by
`--cornac`, for it has an environment of its own. Rivals are measured by alone, thousand, most and new (cornac has no new users).

Rows go to plots/serving.tsv, plots/serving_reloads.tsv and plots/serving_start.tsv. `late=True` marks a row of which the generator was more
than 1 ms late at the 99th percentile: the machine was busy, and the latencies are in part the generator's. What wrk says of latencies
counts refused requests too, and `other` is how many it saw. `server_cpu_seconds` are those of all cores, and the memory of a server is that
of all its processes. Before each measurement a server is asked for two seconds, and has nothing left to do.

It takes as many minutes as there are scenarios, servers and repeats, at 60 seconds each. Needs Linux, and pip install '.[serve]'. Rivals
need fastapi, uvicorn[standard] and implicit; cornac needs flask and gunicorn beside it.
"""

import argparse
import contextlib
import http.client
import json
import math
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from load import Plan, measured
from measure import ROOT, report

from ultragcn import Interactions, UltraGCN, load_model
from ultragcn.data.ids import IdMap
from ultragcn.models.files import MODEL_FILE, model_id

TOP_K, NEW_ITEMS, CONNECTIONS = 20, 20, 32
MILLION_ITEMS, MILLION_USERS, PAIRS_A_USER, DIM = 1_000_000, 100_000, 20, 64
RATES = {"alone": 100.0, "thousand": 1000.0, "new": 50.0}
OF_RIVALS = ("alone", "thousand", "most", "new")
SCENARIOS = (*OF_RIVALS, "overload", "memory", "reloads", "start", "million", "generator")
RIVALS = ("implicit", "implicit-threads", "cornac")
WARM_UP = 2.0
NOT_WANTED = ("torch", "polars", "matplotlib")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A server in a process of its own.

    Attributes
    ----------
    name : str
    command : list of str
        "PORT" stands for its port, "ADMIN" for another.
    lists, new : list of str
        Requests for lists of known users, and by items.
    ready : str
        A path that is answered as soon as the server is ready.
    """

    name: str
    command: list[str]
    lists: list[str]
    new: list[str]
    ready: str = "/health/ready"
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    admin_port: int = 0
    process: subprocess.Popen | None = None

    @contextlib.contextmanager
    def running(self, log: Path, warm: bool = True) -> Iterator["Server"]:
        """Start it, wait until it is ready, and end it afterwards."""
        self.port, self.admin_port = free_port(), free_port()
        ports = {"PORT": str(self.port), "ADMIN": str(self.admin_port)}
        command = [re.sub("PORT|ADMIN", lambda found: ports[found[0]], word) for word in self.command]
        with open(log, "wb") as file:
            environment = os.environ | {"PYTHONPATH": str(ROOT / "src")} | self.environment
            self.process = subprocess.Popen(
                command, stdout=file, stderr=file, env=environment, cwd=ROOT / "benchmarks", start_new_session=True
            )
        try:
            self.wait(log)
            if warm:
                self.load(rate=200.0, seconds=WARM_UP)
                if self.new:
                    self.load(rate=20.0, seconds=WARM_UP / 2, requests=self.new)
                self.settle()
            yield self
        finally:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def wait(self, log: Path) -> None:
        """Wait until it is ready."""
        assert self.process is not None
        latest = time.monotonic() + 300
        while get(self.port, self.ready) != 200:
            if self.process.poll() is not None or time.monotonic() > latest:
                sys.exit(f"{self.name} does not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.005)

    def settle(self) -> None:
        """Wait until it has nothing to do: what later kinds of questions need is made after it is ready."""
        latest = time.monotonic() + 60
        before = -math.inf
        while (now := self.cpu()) - before > 0.05 and time.monotonic() < latest:
            before = now
            time.sleep(0.5)

    def load(self, requests: list[str] | None = None, **given: Any) -> dict[str, Any]:
        """Return the figures of a load on it, with what the server took meanwhile."""
        cpu, before = self.cpu(), self.memory("VmRSS")
        figures = measured(Plan(self.port, requests or self.lists, **given))
        return figures | self.spent(cpu, before)

    def spent(self, cpu: float, before: float) -> dict[str, float]:
        """Return what the server took since it had taken so much."""
        after = self.memory("VmRSS")
        spent = self.cpu() - cpu
        return {"server_cpu_seconds": spent, "rss_mb": after, "growth_mb": after - before, "peak_mb": self.memory("VmHWM")}

    def processes(self) -> list[int]:
        """Return the server's processes."""
        assert self.process is not None
        found, parents = [self.process.pid], {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        for one in found:  # which grows meanwhile
            found += [child for child, parent in parents.items() if parent == one]
        return found

    def cpu(self) -> float:
        """Return the seconds of all cores that it has taken."""
        total = 0
        for one in self.processes():
            with contextlib.suppress(OSError):
                total += sum(map(int, Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:13]))
        return total / TICKS

    def memory(self, name: str) -> float:
        """Return its memory in MB, by a name of /proc/PID/status."""
        total = 0.0
        for one in self.processes():
            with contextlib.suppress(OSError, TypeError):
                total += int(re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{one}/status").read_text())[1]) * 1024 / 1e6
        return total


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def get(port: int, path: str, method: str = "GET") -> int:
    """Return the status of an answer, 0 where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def get_request(path: str) -> str:
    """Return a request as it is sent."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post_request(path: str, body: Any) -> str:
    """Return a request with a JSON body as it is sent."""
    text = json.dumps(body)
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}"


def requests_of(model: Any, path: str = "/recommend/{user}?k={k}") -> list[str]:
    """Return a request for each user of a model, or for some of very many."""
    users = model.user_ids.ids
    chosen = users if len(users) <= 30_000 else np.random.default_rng(0).choice(users, 30_000, replace=False)
    return [get_request(path.format(user=user, k=TOP_K)) for user in chosen.tolist()]


def requests_of_new(model: Any) -> list[str]:
    """Return requests by items that are drawn as often as users have them."""
    random, ids = np.random.default_rng(0), model.item_ids.ids
    pool = model.train_.matrix.indices
    baskets = [np.unique(random.choice(pool, 4 * NEW_ITEMS)) for _ in range(500)]
    return [post_request("/recommend", {"items": ids[random.permutation(one)[:NEW_ITEMS]].tolist(), "k": TOP_K}) for one in baskets]


def ours(folder: Path, model: Any, *options: str, name: str = "ultragcn") -> Server:
    """Return our server of a model in a folder."""
    command = [sys.executable, "-m", "ultragcn", "serve", str(folder), "--port", "PORT", *options]
    return Server(name, command, requests_of(model), requests_of_new(model) if len(model.item_ids) < MILLION_ITEMS else [])


def rivals(names: list[str], model: Any, cornac: str | None, folder: Path) -> list[Server]:
    """Return the other servers, trained on what the model has seen."""
    data, seen = folder / "data.npz", model.seen_
    np.savez(
        data, user_ids=model.user_ids.ids, item_ids=model.item_ids.ids, indices=seen.indices, indptr=seen.indptr,
        dim=model.config.embedding_dim,
    )  # fmt: skip
    made = []
    for name in names:
        if name == "cornac":
            if cornac is None:
                sys.exit("give the Python that has cornac: --cornac PYTHON")
            subprocess.run([cornac, str(ROOT / "benchmarks/serving_rivals.py"), str(data), str(folder)], check=True)
            path = (folder / "path.txt").read_text(encoding="utf-8")
            environment = {"MODEL_PATH": path, "MODEL_CLASS": "cornac.models.BPR", "PYTHONPATH": ""}
            command = [cornac, "-m", "gunicorn", "cornac.serving.app:app", "--bind", "127.0.0.1:PORT", "--worker-class", "gthread",
                       "--threads", "4", "--keep-alive", "75"]  # fmt: skip
            first = model.user_ids.ids[0]
            lists = requests_of(model, "/recommend?uid={user}&k={k}&remove_seen=true")
            made.append(Server(name, command, lists, [], f"/recommend?uid={first}&k=1", environment))
        else:
            routes = "threads" if name == "implicit-threads" else "async"
            environment = {"DATA": str(data), "ROUTES": routes, "OPENBLAS_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "uvicorn", "--factory", "serving_rivals:app", "--port", "PORT", "--no-access-log"]
            made.append(Server(name, command, requests_of(model), requests_of_new(model), "/openapi.json", environment))
    return made


# ------------------------------------------------------------------ scenarios


def most_of(server: Server, seconds: float, folder: Path) -> dict[str, Any]:
    """Return the figures of as many requests as the server answers."""
    if shutil.which("wrk") is None:
        return server.load(seconds=seconds, connections=CONNECTIONS) | {"by": "generator"}
    paths = folder / "paths.txt"
    paths.write_text("\n".join(request.split(" ", 2)[1] for request in server.lists), encoding="utf-8")
    script = folder / "paths.lua"
    script.write_text(
        f"paths = {{}}\nfor line in io.lines('{paths}') do paths[#paths + 1] = line end\n"
        "request = function() return wrk.format('GET', paths[math.random(#paths)]) end\n",
        encoding="utf-8",
    )
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "10s", "-s", str(script)]
    cpu, before = server.cpu(), server.memory("VmRSS")
    said = subprocess.run([*command, f"http://127.0.0.1:{server.port}"], capture_output=True, text=True, check=True).stdout
    number, took, unit = re.search(r"(\d+) requests in ([\d.]+)(m?s|m)", said).groups()
    took = float(took) * {"ms": 0.001, "s": 1.0, "m": 60.0}[unit]
    other = int((re.search(r"Non-2xx or 3xx responses: (\d+)", said) or ["", 0])[1])
    failed = sum(map(int, re.findall(r"\d+", (re.search(r"Socket errors: (.*)", said) or ["", ""])[1])))

    def milliseconds(share: str) -> float:
        value, of = re.search(rf"\s{share}%\s+([\d.]+)(us|ms|s|m)", said).groups()
        return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[of]

    return {
        "by": "wrk", "seconds": took, "requests": int(number), "per_second": (int(number) - other) / took, "other": other,
        "failed": failed, "p50_ms": milliseconds("50"), "p99_ms": milliseconds("99"),
    } | server.spent(cpu, before)  # fmt: skip


def measure(server: Server, scenario: str, options: argparse.Namespace, folder: Path, most: float) -> dict[str, Any] | None:
    """Return the figures of a scenario on a server that runs; None where the server has no such thing."""
    if scenario == "most":
        return most_of(server, options.seconds, folder)
    if scenario == "overload":
        return server.load(rate=2 * most, seconds=options.seconds) | {"rate": 2 * most}
    requests = server.new if scenario == "new" else server.lists
    if not requests:
        return None
    return server.load(requests, rate=RATES[scenario], seconds=options.seconds) | {"rate": RATES[scenario]}


def memory(server: Server, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return by how much the memory of a server grows, after its first requests."""
    with server.running(folder / "memory.log"):
        return server.load(seconds=math.inf if options.requests else 0.0, most=options.requests, connections=8)


def reloads(run: Path, model: Any, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what goes wrong where models are exchanged under load."""
    served, files = folder / "served", [folder / "first", folder / "second"]
    for one in (served, *files):
        shutil.rmtree(one, ignore_errors=True)
        one.mkdir()
    shutil.copy(run / MODEL_FILE, files[0])
    ids = model.item_ids.ids
    moved = [f"~{name}" for name in ids] if model.item_ids.are_strings else ids + (int(ids.max()) - int(ids.min()) + 1)
    own, model.item_ids = model.item_ids, IdMap(np.array(moved, dtype=ids.dtype), "item")
    model.save(files[1])
    items_of = {model_id(files[0]): {*own.ids.tolist()}, model_id(files[1]): {*model.item_ids.ids.tolist()}}
    model.item_ids = own
    damaged = bytearray((files[0] / MODEL_FILE).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / "damaged").write_bytes(damaged)

    def put(file: Path) -> None:
        shutil.copy(file, served / "new")
        os.replace(served / "new", served / MODEL_FILE)

    put(files[0] / MODEL_FILE)
    server = ours(served, model, "--admin_port", "ADMIN")
    with server.running(folder / "reloads.log"), ThreadPoolExecutor(1) as pool:
        put(files[1] / MODEL_FILE)
        started = time.perf_counter()
        assert get(server.admin_port, "/admin/reload", "POST") == 200
        alone = time.perf_counter() - started
        seconds = max(options.seconds, 3 * options.reloads * alone)
        kept = folder / "bodies"
        loading = pool.submit(server.load, rate=500.0, seconds=seconds, keep=str(kept))
        time.sleep(0.5)
        statuses, took, inside = [], [], 0
        for number in range(options.reloads):
            is_damaged = number == options.reloads // 2
            put(folder / "damaged" if is_damaged else files[number % 2] / MODEL_FILE)
            started = time.perf_counter()
            statuses.append(get(server.admin_port, "/admin/reload", "POST"))
            took.append(time.perf_counter() - started)
            inside += not loading.done()
        figures = loading.result()
    mixed, by_model = 0, dict.fromkeys(items_of, 0)
    with open(kept, "rb") as lines:
        for line in lines:
            answer = json.loads(line)
            if "items" in answer:
                by_model[answer["model"]] += 1
                mixed += not {one["item"] for one in answer["items"]} <= items_of[answer["model"]]
    expected = [409 if number == options.reloads // 2 else 200 for number in range(options.reloads)]
    return figures | {
        "reloads": statuses.count(200), "damaged_refused": statuses.count(409), "as_expected": statuses == expected,
        "under_load": inside, "reload_seconds": statistics.median(took), "reload_seconds_alone": alone, "of_two_models": mixed,
        "answers_by_model": "/".join(map(str, by_model.values())),
    }  # fmt: skip


def start(run: Path, model: Any, folder: Path) -> dict[str, Any]:
    """Return the seconds from the command to the first answer, and what is imported of what is not wanted."""
    server = ours(run, model)
    before = time.perf_counter()
    with server.running(folder / "start.log", warm=False):
        seconds, rss = time.perf_counter() - before, server.memory("VmRSS")
        cpu = server.cpu()
    server.command = [sys.executable, "-X", "importtime", *server.command[1:]]
    log = folder / "imports.log"
    with server.running(log, warm=False):
        server.load(rate=20.0, seconds=1.0)
    modules = {line.rpartition("|")[2].strip() for line in log.read_text(errors="replace").splitlines() if line.startswith("import time:")}
    wrong = [name for name in NOT_WANTED if name in modules]
    return {"seconds": seconds, "cpu_seconds": cpu, "rss_mb": rss, "modules": len(modules), "not_wanted": ",".join(wrong) or "none"}


def make_million(folder: Path) -> UltraGCN:
    """Return a made-up model of a million items, which is saved where it is not there."""
    if (folder / MODEL_FILE).exists():
        return load_model(folder)
    random = np.random.default_rng(0)
    columns = np.sort(random.integers(0, MILLION_ITEMS // PAIRS_A_USER, (MILLION_USERS, PAIRS_A_USER)), axis=1)
    columns = (columns + np.arange(PAIRS_A_USER) * (MILLION_ITEMS // PAIRS_A_USER)).ravel()
    indptr = np.arange(0, MILLION_USERS * PAIRS_A_USER + 1, PAIRS_A_USER)
    matrix = sp.csr_matrix((np.ones(len(columns), np.float32), columns, indptr), shape=(MILLION_USERS, MILLION_ITEMS))
    train = Interactions(matrix, IdMap(np.arange(MILLION_USERS), "user"), IdMap(np.arange(MILLION_ITEMS), "item"))
    model = UltraGCN(embedding_dim=DIM, item_item_weight=0.0, item_graph_weight=0.0, seed=0)
    model._set_data(train, None)
    model.user_embedding_ = random.standard_normal((MILLION_USERS, DIM), np.float32)
    model.item_embedding_ = random.standard_normal((MILLION_ITEMS, DIM), np.float32)
    model.item_graph_ = sp.csr_matrix((MILLION_ITEMS, MILLION_ITEMS), dtype=np.float32)
    model.item_trend_ = np.zeros(MILLION_ITEMS, np.float32)
    model.seed_, model.history_, model.best_epoch_, model.stopped_ = 0, [], 0, "epochs"
    model.train_seconds_, model.compile_seconds_, model.l2_ = 0.0, 0.0, None
    model.save(folder)
    return model


def generator(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of 6,000 requests a second to a server that does nothing."""
    sleeper = subprocess.Popen([sys.executable, str(ROOT / "benchmarks/sleeper.py")], stdout=subprocess.PIPE, text=True)
    try:
        port = int(sleeper.stdout.readline())
        return measured(Plan(port, [get_request("/")], rate=6000.0, seconds=options.seconds)) | {"rate": 6000.0}
    finally:
        sleeper.terminate()
        sleeper.wait()


# --------------------------------------------------------------------- report

_COLUMNS = (
    "rate", "seconds", "requests", "per_second", "p50_ms", "p99_ms", "max_ms", "refused", "refused_p99_ms", "refused_max_ms", "other",
    "failed", "server_cpu_seconds", "cpu_seconds", "rss_mb", "growth_mb", "peak_mb", "lag_p50_ms", "lag_p99_ms",
)  # fmt: skip


def median_of(runs: list[dict[str, Any]], columns: tuple[str, ...]) -> dict[str, Any]:
    """Return the median of each column over runs; "-" where there is no such figure."""
    found: dict[str, Any] = {}
    for column in columns:
        values = [run[column] for run in runs if column in run and not math.isnan(run[column])]
        found[column] = statistics.median(values) if values else "-"
    return found


def show(name: str, scenario: str, runs: list[dict[str, Any]]) -> None:
    """Report the medians of a scenario."""
    late = any(run.get("late", False) for run in runs)
    row = {"server": name, "scenario": scenario, "runs": len(runs), "by": runs[0].get("by", "generator")}
    report("serving", row | median_of(runs, _COLUMNS) | {"late": late})


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help="separated by commas")
    parser.add_argument("--rivals", default="", help="separated by commas")
    parser.add_argument("--cornac", metavar="PYTHON", help="the Python that has cornac")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--requests", type=int, default=200_000, help="of memory")
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--most", type=float, help="requests a second that overload doubles (default: what most finds)")
    parser.add_argument("--million", type=Path, help="a folder where the made-up model is kept (default: it is made anew)")
    options = parser.parse_args()
    scenarios, names = options.scenarios.split(","), [one for one in options.rivals.split(",") if one]
    if wrong := [one for one in scenarios if one not in SCENARIOS] + [one for one in names if one not in RIVALS]:
        sys.exit(f"there is no {wrong[0]!r}; scenarios are {', '.join(SCENARIOS)}, and rivals {', '.join(RIVALS)}")
    model = load_model(options.run)
    with tempfile.TemporaryDirectory(prefix="serving-") as temporary:
        folder = Path(temporary)
        servers = [ours(options.run.resolve(), model), *rivals(names, model, options.cornac, folder)]
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for _ in range(options.repeats):
            for server in servers:
                wanted = [one for one in scenarios if one in OF_RIVALS or (one == "overload" and server.name == "ultragcn")]
                if not wanted:
                    continue
                most = options.most
                with server.running(folder / f"{server.name}.log"):
                    for scenario in wanted:
                        if scenario == "overload" and most is None:
                            most = most_of(server, min(10.0, options.seconds), folder)["per_second"]
                        figures = measure(server, scenario, options, folder, most or 0.0)
                        if figures is None:
                            continue
                        if scenario == "most" and options.most is None:
                            most = figures["per_second"]
                        found.setdefault((server.name, scenario), []).append(figures)
        for (name, scenario), runs in found.items():
            show(name, scenario, runs)
        if "memory" in scenarios:
            show("ultragcn", "memory", [memory(servers[0], options, folder) for _ in range(options.repeats)])
        if "reloads" in scenarios:
            for _ in range(options.repeats):
                figures = reloads(options.run, model, options, folder)
                columns = ("requests", "reloads", "damaged_refused", "as_expected", "under_load", "reload_seconds", "reload_seconds_alone",
                           "failed", "refused", "other", "of_two_models", "answers_by_model", "p50_ms", "p99_ms", "max_ms", "peak_mb",
                           "server_cpu_seconds", "lag_p99_ms", "late")  # fmt: skip
                report("serving_reloads", {column: figures[column] for column in columns})
        if "start" in scenarios:
            for _ in range(options.repeats):
                report("serving_start", start(options.run.resolve(), model, folder))
        if "million" in scenarios:
            kept = options.million or folder / "million"
            server = ours(kept.resolve(), make_million(kept))
            runs: dict[str, list[dict[str, Any]]] = {"million alone": [], "million 200/s": []}
            for _ in range(options.repeats):
                with server.running(folder / "million.log", warm=False):
                    server.load(rate=10.0, seconds=WARM_UP)
                    server.settle()
                    runs["million alone"].append(server.load(rate=10.0, seconds=options.seconds) | {"rate": 10.0})
                    runs["million 200/s"].append(server.load(rate=200.0, seconds=options.seconds) | {"rate": 200.0})
            for scenario, figures in runs.items():
                show("ultragcn", scenario, figures)
        if "generator" in scenarios:
            show("sleeper", "generator", [generator(options) for _ in range(options.repeats)])


if __name__ == "__main__":
    main()
