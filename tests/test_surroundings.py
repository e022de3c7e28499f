"""What machines do, each in a process of its own: no home, closed streams, forks, no file locks, little memory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ultragcn
from ultragcn import machine

SOURCES = Path(ultragcn.__file__).parents[1]
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def python(tmp_path, code, *, shell="", environment=None, sources=SOURCES, timeout=240):
    """Run `code` in a Python of its own; return how it ended."""
    (tmp_path / "script.py").write_text(code)
    known = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "PYTEST"))}
    words = [sys.executable, str(tmp_path / "script.py")]
    if shell:
        words = ["sh", "-c", shell, "sh", *words]
    return subprocess.run(
        words, capture_output=True, text=True, cwd=tmp_path, timeout=timeout,
        env=known | {"PYTHONPATH": str(sources)} | (environment or {}),
    )  # fmt: skip


TRAIN = """
import sys
from ultragcn.cli import main
sys.exit(main("train --dataset demo --model bpr --embedding_dim 4 --epochs 2 --out run --quiet".split()))
"""


@pytest.fixture
def read_only(tmp_path):
    """Return the environment of a user who can write neither to the package nor to a home, and where the package is."""
    package = tmp_path / "site" / "ultragcn"
    shutil.copytree(Path(ultragcn.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "kernels" / "numba_cpu" / "__pycache__").write_text("a file, so that not even root can make a folder of this name")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache", "TMPDIR": str(temporary)}
    return nowhere | {"PYTHONDONTWRITEBYTECODE": "1"}, package.parent, temporary


def test_without_a_home_on_a_read_only_package_kernels_are_kept_in_a_temporary_folder_which_is_said_once(tmp_path, read_only):
    environment, sources, temporary = read_only
    code = """
from ultragcn import kernels
kernels.compile_kernels("find_hits")
from ultragcn.kernels.numba_cpu.about import describe
about = describe()
print(about["cache"], about["cache_files"], about["cache_writable"])
"""
    done = python(tmp_path, code, environment=environment, sources=sources)
    assert done.returncode == 0, done.stderr
    folder, files, writable = done.stdout.split()
    assert Path(folder).is_relative_to(temporary)
    assert (int(files) > 0, writable) == (True, "True")
    assert done.stderr.count("compiled kernels are kept in") == 1
    assert Path(folder).parent.stat().st_mode & 0o077 == 0


def test_kernels_in_an_image_are_found_by_a_user_who_may_only_read_them(tmp_path, read_only):
    environment, sources, temporary = read_only
    beside = sources / "ultragcn" / "kernels" / "numba_cpu" / "__pycache__"
    beside.unlink()
    code = "from ultragcn import kernels\nprint(kernels.compile_kernels('find_hits'))"
    assert python(tmp_path, code, environment=environment, sources=sources).returncode == 0
    compiled = sorted(path.name for path in beside.glob("*.nb?"))
    assert compiled
    look = f"""
from pathlib import Path
from ultragcn.kernels.numba_cpu import cache
cache._BESIDE = Path({str(beside)!r})
can_write = cache._can_write
cache._can_write = lambda place: place != cache._BESIDE and can_write(place)
assert cache.choose_place()
print(sorted(path.name for path in Path({str(temporary)!r}).rglob("*.nb?")) == {compiled!r})
"""
    done = python(tmp_path, look, environment=environment, sources=sources)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert "compiled kernels" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
@pytest.mark.parametrize("streams", ["2>&-", "0<&- 2>&-"])
def test_with_stderr_closed_training_works_and_messages_do_not_get_among_the_data(tmp_path, streams):
    done = python(tmp_path, TRAIN, shell=f'exec "$@" {streams}')
    assert done.returncode == 0, done.stdout
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == {"valid", "test", "best reachable", "run"}
    assert (tmp_path / "run/model.safetensors").exists()
    assert "ultragcn:" not in (tmp_path / "run/history.tsv").read_text()


def test_a_program_without_a_console_shows_nothing_and_works(tmp_path):
    code = """
import sys
sys.stderr = None
from ultragcn import BPR, load_dataset
model = BPR(embedding_dim=4, epochs=1).fit(load_dataset("demo"), progress=True)
print(len(model.recommend("user-0001", top_k=3)[0]))
"""
    done = python(tmp_path, code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


FORKED = """
import os, signal, sys
from pathlib import Path
import polars as pl
from ultragcn import BPR, EASE, load_dataset, read_interactions, load_model
from ultragcn.cli import main
Path("log.csv").write_text("user,item\\n" + "".join(f"u{i % 50},{i * 7 % 89}\\n" for i in range(200)))
data = load_dataset("demo")
model = EASE().fit(data)
trained = BPR(embedding_dim=4, epochs=1, seed=0).fit(data)
users = data.train.user_ids.ids.tolist()
expected = model.recommend(users, top_k=5)[0].tolist()
model.save("model")
BEFORE

def in_child(name, work):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            print(name, work(), flush=True)
        except Exception as error:
            print(name, type(error).__name__, str(error).count("\\n"), flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        print(name, "ended by", status, flush=True)

in_child("rank", lambda: model.recommend(users, top_k=5)[0].tolist() == expected)
in_child("load", lambda: load_model("model").recommend(users, top_k=5)[0].tolist() == expected)
in_child("train", lambda: bool((BPR(embedding_dim=4, epochs=1, seed=0).fit(data).item_embedding_ == trained.item_embedding_).all()))
in_child("read", lambda: len(read_interactions("log.csv")))
in_child("frame", lambda: EASE().fit(pl.DataFrame({"user": [1, 2, 1], "item": [1, 2, 2]})).is_fitted)
in_child("load_dataset", lambda: len(load_dataset("log.csv").train) > 0)
in_child("recommend_frame", lambda: model.recommend_frame(users[:3], top_k=5).height)
in_child("command", lambda: main("train --dataset log.csv --model popularity --out run --quiet".split()))
in_child("parquet", lambda: main("recommend model --users user-0001 --top_k 2 --format parquet --output x.parquet".split()))
"""


@FORKS
def test_in_a_child_of_a_parent_that_read_ranked_and_trained_all_works_but_polars_which_is_one_sentence(tmp_path):
    done = python(tmp_path, FORKED.replace("BEFORE", 'read_interactions("log.csv")'))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "rank True", "load True", "train True", "read ForkedError 0", "frame ForkedError 0", "load_dataset ForkedError 0",
        "recommend_frame ForkedError 0", "command 1", "parquet 1",
    ]  # fmt: skip
    assert done.stderr.count("this process was forked from one that had read with polars") == 2


@FORKS
def test_in_a_child_of_a_parent_that_never_used_polars_everything_works(tmp_path):
    done = python(tmp_path, FORKED.replace("BEFORE", ""))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == ["rank True", "load True", "train True"]
    assert "ended by" not in done.stdout
    assert ("read 200" in done.stdout) or ("read ForkedError 0" in done.stdout)


def test_on_a_file_system_without_locks_everything_works_with_one_warning(tmp_path):
    code = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOTSUP, "Operation not supported")
fcntl.flock = flock
from ultragcn.cli import main
from ultragcn.experiments.studies.space import space_of
from ultragcn.experiments.studies.study import Study
from ultragcn.experiments.studies import claims
from pathlib import Path
print(main("train --dataset demo --model ultragcn --embedding_dim 4 --epochs 3 --out run --quiet".split()))
with claims.one_at_a_time(Path("claims/a")):
    print(claims.claim(Path("claims/b")) is not None)
"""
    done = python(tmp_path, code)
    assert done.stdout.splitlines()[-2:] == ["0", "True"], done.stderr
    assert done.stderr.count("has no file locks") == 1
    assert len((tmp_path / "run/history.tsv").read_text().splitlines()) == 4


def test_without_the_names_that_windows_lacks_a_run_is_trained_and_used(tmp_path):
    code = """
import os, sys, signal
sys.modules["fcntl"] = sys.modules["resource"] = None
for name in ("pread", "register_at_fork", "fork", "getuid", "sched_getaffinity", "O_CLOEXEC", "geteuid", "killpg", "statvfs"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "pthread_sigmask", "SIGALRM", "alarm", "setitimer"):
    if hasattr(signal, name):
        delattr(signal, name)
from ultragcn.cli import main
print(main("train --dataset demo --embedding_dim 4 --epochs 3 --out run --quiet".split()))
print(main("recommend run --users user-0001 --top_k 2".split()))
print(main("evaluate run".split()) in (0, 2))
"""
    done = python(tmp_path, code)
    said = done.stdout.splitlines()
    assert "Traceback" not in done.stderr, done.stderr
    assert [line for line in said if line in ("0", "True")] == ["0", "0", "True"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not hold a process to a limit of addresses")
def test_where_memory_runs_out_the_command_says_so_in_one_sentence(tmp_path):
    code = """
import resource, sys
import numpy as np
from ultragcn import cli
from ultragcn.cli import main, doctor
limit = 4 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
doctor.run = lambda arguments: np.ones((2**15, 2**15)).shape[0]
sys.exit(main(["doctor"]))
"""
    done = python(tmp_path, code)
    assert done.returncode == 1
    assert done.stderr.startswith("ultragcn: memory ran out (")
    assert done.stderr.count("\n") == 1


def test_where_no_thread_can_be_started_the_calling_one_does_all_the_work(tmp_path):
    code = """
import threading
import numpy as np
from ultragcn import kernels, EASE, load_dataset
data = load_dataset("demo")
def start(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
model = EASE().fit(data)
print(model.recommend(data.train.user_ids.ids.tolist(), top_k=5)[0].shape)
"""
    done = python(tmp_path, code)
    assert (done.returncode, done.stdout) == (0, "(2000, 5)\n"), done.stderr


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return what writes the files of control groups, as the kernel shows them."""
    monkeypatch.setattr(machine, "_GROUPS_FILE", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_GROUPS_MOUNT", tmp_path / "fs")

    def write(line, files):
        (tmp_path / "cgroup").write_text(line + "\n")
        for name, text in files.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")

    return write


GIB = 2**30
TWO = {
    "a/b/memory.max": "max", "a/b/memory.current": "5", "a/b/memory.stat": "anon 5", "a/b/cpu.max": "max 100000",
    "a/memory.max": str(GIB), "a/memory.current": str(GIB // 2), "a/memory.stat": f"anon 1\ninactive_file {GIB // 4}",
    "a/cpu.max": "150000 100000",
}  # fmt: skip
ONE = {
    "memory/a/memory.limit_in_bytes": str(GIB), "memory/a/memory.usage_in_bytes": str(GIB // 4),
    "memory/a/memory.stat": "total_inactive_file 0", "cpu/a/cpu.cfs_quota_us": "150000", "cpu/a/cpu.cfs_period_us": "100000",
}  # fmt: skip


@pytest.mark.parametrize(("line", "files"), [("0::/a/b", TWO), ("4:memory:/a\n1:cpu:/a", ONE)])
def test_control_groups_of_both_versions_limit_memory_and_cores(groups, monkeypatch, line, files):
    groups(line, files)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert machine.cpu_quota() == 1.5
    assert machine.num_cores() == 2
    assert machine._left_of_groups() == GIB * 3 // 4
    assert machine.free_memory() <= GIB * 3 // 4


def test_without_limits_the_machine_alone_counts(groups, monkeypatch):
    groups("0::/", {"memory.max": "max", "cpu.max": "max 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert (machine.cpu_quota(), machine.num_cores(), machine._left_of_groups()) == (None, 3, None)


def test_one_command_only_compiles(tmp_path):
    code = """
import sys
from ultragcn.models import compiling
compiling.compile_all = lambda: 1.0
from ultragcn.cli import main
sys.exit(main(["doctor", "--compile"]))
"""
    done = python(tmp_path, code)
    assert done.returncode == 0
    assert "ultragcn: all kernels were compiled, or loaded from the cache, in 1.0 s" in done.stderr
    assert "kernel_cache\t" in done.stdout


def test_several_runs_with_one_tracker_start_at_once(tmp_path):
    pytest.importorskip("mlflow")
    code = """
import sys
from pathlib import Path
from ultragcn.experiments.runs.trackers import Tracking
about = {"id": sys.argv[1], "dataset": "d", "protocol": "p", "data_hash": "h", "config": {"a": 1}}
tracking = Tracking(["mlflow"], Path(f"run{sys.argv[1]}"), about)
tracking.record({"epoch": 1, "loss": 1.0})
tracking.finish(None)
"""
    (tmp_path / "script.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(SOURCES), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    words = [sys.executable, "-W", "ignore", str(tmp_path / "script.py")]
    started = [
        subprocess.Popen([*words, str(number)], env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    for process in started:
        errors = process.communicate(timeout=300)[1]
        assert process.returncode == 0, errors
