"""Threads and forks: one model asked by many threads at once, and children forked after ranking, training and reading.

    python benchmarks/threads_and_forks.py [--seconds 60] [--threads 16] [--forks 1000] [--seed 0]

Every answer must be the one that a single thread gets, or one sentence; no process may be ended, and memory must not grow. Children are
forked while threads are ranking, and from processes that have only ranked, trained, or read.
"""

import argparse
import os
import random
import select
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS_OF_A_CHILD = 120
"""Before a child is ended that hangs, wherever it does."""


class Asked:
    """Models, and what they answer to one who asks alone."""

    def __init__(self, folder: Path) -> None:
        from ultragcn import BPR, EASE, IALS, UltraGCN, evaluate, load_dataset, load_model

        self.data = load_dataset("demo")
        self.users = self.data.train.user_ids.ids.tolist()
        self.items = self.data.train.item_ids.ids.tolist()
        self.model = UltraGCN(embedding_dim=8, epochs=2, item_graph_weight=0.5).fit(self.data)
        self.dense = EASE().fit(self.data)
        self.ials = IALS(embedding_dim=8, epochs=2).fit(self.data)
        self.model.save(folder)
        few = self.users[:50]
        self.questions: dict[str, Callable[[], Any]] = {
            "recommend": lambda: [one.tolist() for one in self.model.recommend(self.users, top_k=10)],
            "recommend one": lambda: self.model.recommend(self.users[7], top_k=10)[0].tolist(),
            "of candidates": lambda: self.model.recommend(few, top_k=5, candidates=self.items[::3])[0].tolist(),
            "recommend_for": lambda: self.ials.recommend_for([self.items[:5]], top_k=5)[0].tolist(),
            "dense": lambda: self.dense.recommend(few, top_k=10)[0].tolist(),
            "similar": lambda: self.model.similar_items(self.items[:20], top_k=5)[0].tolist(),
            "evaluate": lambda: evaluate(self.model, self.data.test, ["recall@20"]),
            "load": lambda: load_model(folder).recommend(few, top_k=5)[0].tolist(),
            "train": lambda: IALS(embedding_dim=4, epochs=1, seed=1).fit(self.data).item_embedding_.tobytes(),
            "train bpr": lambda: BPR(embedding_dim=4, epochs=1, seed=1).fit(self.data).item_embedding_.tobytes(),
        }
        self.answers = {name: question() for name, question in self.questions.items()}

    def ask(self, name: str) -> str:
        """Return what comes of a question: equal, a sentence, other, or a traceback."""
        from ultragcn.errors import UltraGCNError

        try:
            return "equal" if self.questions[name]() == self.answers[name] else "other"
        except UltraGCNError:
            return "a sentence"
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def ask_at_once(asked: Asked, threads: int, seconds: float, seed: int) -> Counter[str]:
    """Return what came of the questions of several threads that ask at once."""
    came: Counter[str] = Counter()
    lock, end = threading.Lock(), time.monotonic() + seconds

    def work(number: int) -> None:
        draw = random.Random(seed + number)
        while time.monotonic() < end:
            result = asked.ask(draw.choice(sorted(asked.questions)))
            with lock:
                came[result] += 1

    started = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(seconds + 300)
        if thread.is_alive():
            came["hangs"] += 1
    return came


def fork(questions: list[Callable[[], str]]) -> str:
    """Return what comes of questions in a child of this process: the worst of them."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        results = [question() for question in questions]
        worst = next((result for result in results if result not in ("equal", "a sentence")), None)
        os.write(writing, (worst or ("equal" if "equal" in results else "a sentence")).encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        ready, _, _ = select.select([answer], [], [], SECONDS_OF_A_CHILD)
        if not ready:  # it may hang before it runs anything of its own
            os.kill(child, signal.SIGKILL)
        said = answer.read()
    _, status = os.waitpid(child, 0)
    return "hangs" if not ready else f"ended with {status}" if status else said


def fork_often(asked: Asked, log: Path, forks: int, seed: int) -> Counter[str]:
    """Return what came of children that rank, train, load and read, a third of them forked while threads rank."""
    from ultragcn import read_interactions
    from ultragcn.errors import UltraGCNError

    def read() -> str:
        try:
            return "equal" if len(read_interactions(log)) == 200 else "other"
        except UltraGCNError:
            return "a sentence"

    draw, came, stop = random.Random(seed), Counter[str](), threading.Event()
    read_interactions(log)

    def rank_on() -> None:
        while not stop.is_set():
            asked.ask("recommend one")
            time.sleep(0.01)

    for number in range(forks):
        helpers = [threading.Thread(target=rank_on) for _ in range(2 if number % 3 == 0 else 0)]
        stop.clear()
        for helper in helpers:
            helper.start()
        names = draw.sample(sorted(set(asked.questions) - {"train bpr"}), 2)
        asked_here = [(lambda name=name: asked.ask(name)) for name in names]
        came[fork([*asked_here, read] if number % 4 == 0 else asked_here)] += 1
        stop.set()
        for helper in helpers:
            helper.join()
    return came


def resident_mb() -> float:
    """Return the resident memory of this process."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


def main() -> int:
    """Ask, fork, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    for name, default in (("threads", 16), ("forks", 1000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.csv"
        log.write_text("user,item\n" + "".join(f"u{i % 50},{i * 7 % 89}\n" for i in range(200)))
        asked = Asked(Path(folder) / "model")
        ask_at_once(asked, arguments.threads, min(5, arguments.seconds / 4), arguments.seed)
        print("what\tnumber\tequal\ta sentence\tanything else\tMB before\tMB after")
        right = True
        for what, work in (
            (f"{arguments.threads} threads x {arguments.seconds:g} s",
             lambda: ask_at_once(asked, arguments.threads, arguments.seconds, arguments.seed)),
            (f"{arguments.forks} forks", lambda: fork_often(asked, log, arguments.forks, arguments.seed)),
        ):  # fmt: skip
            before = resident_mb()
            came = work()
            after = resident_mb()
            number, good = sum(came.values()), came["equal"] + came["a sentence"]
            print(f"{what}\t{number}\t{came['equal']}\t{came['a sentence']}\t{number - good}\t{before:.0f}\t{after:.0f}", flush=True)
            for result in sorted(came.keys() - {"equal", "a sentence"}):
                print(f"  {came[result]} x {result}")
            right = right and number == good and number > 0 and after < before * 1.25 + 50
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
