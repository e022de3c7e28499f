"""What rules cost: CPU seconds of lists under rules, beside those of lists without rules.

    python benchmarks/rules.py [--dataset gowalla] [--users 4096] [--alone 200]

Prints a table: for each set of rules the CPU seconds of `recommend` for many users together, and the CPU milliseconds of one user alone,
as medians, with their ratios to no rule. Every set of rules is timed in turn with no rule, so that both meet the same busy machine.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from ultragcn import Rules, UltraGCN, load_dataset
from ultragcn.models.recommender import Recommender

ROUNDS = 3


def items_table(num_items: int, item_ids: np.ndarray) -> pl.DataFrame:
    """Return a made-up table: a price, each of 100 percentiles alike, a brand of 500, and a genre of 20."""
    draw = np.random.default_rng(0)
    return pl.DataFrame({
        "item_id": pl.Series(item_ids.tolist()), "percent": draw.integers(0, 100, num_items),
        "brand": (draw.pareto(1.0, num_items) * 10).astype(int) % 500, "genre": draw.integers(0, 20, num_items),
    })  # fmt: skip


def rule_sets(model: Recommender) -> dict[str, Rules]:
    """Return the rules that are timed, by what the table calls them."""
    draw = np.random.default_rng(1)
    pairs = [(user, item) for user in model.user_ids.ids[::2].tolist() for item in draw.choice(model.item_ids.ids, 5).tolist()]
    return {
        "where, keeps 1 %": Rules(where="percent < 1"),
        "where, keeps 10 %": Rules(where="percent < 10"),
        "where, keeps 50 %": Rules(where="percent < 50"),
        "where, keeps 99 %": Rules(where="percent < 99"),
        "only, keeps 1 %": Rules(only=model.item_ids.ids[::100]),
        "exclude 100 items": Rules(exclude=model.item_ids.ids[:100]),
        "exclude pairs": Rules(exclude=pairs),
        "max_per brand=2": Rules(max_per="brand=2"),
        "max_per genre=1": Rules(max_per="genre=1"),
        "promote 20 %": Rules(promote="percent < 10=20%"),
        "diversity 0.3": Rules(diversity=0.3),
        "where 1 %, all others": Rules(where="percent < 1", max_per="brand=2", promote="genre = 3=10%", diversity=0.3),
    }


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of all threads that some work takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="gowalla")
    parser.add_argument("--users", type=int, default=4096, help="users whose lists are made together")
    parser.add_argument("--alone", type=int, default=100, help="users who are asked for alone")
    parser.add_argument("--top_k", type=int, default=20)
    parser.add_argument("--num_threads", type=int, default=1)
    arguments = parser.parse_args()
    data = load_dataset(arguments.dataset)
    model = UltraGCN(embedding_dim=64, epochs=1, seed=0, num_threads=arguments.num_threads, item_graph_weight=0.5)
    model.fit(data.train)
    model.set_items_table(items_table(len(model.item_ids), model.item_ids.ids))
    users = model.user_ids.ids[: arguments.users]
    alone = model.user_ids.ids[: arguments.alone].tolist()
    model.recommend(users[:10], arguments.top_k)

    def together(rules: Rules | None) -> float:
        return cpu_seconds(lambda: model.recommend(users, arguments.top_k, rules=rules))

    def one_by_one(rules: Rules | None) -> float:
        return statistics.median(cpu_seconds(partial(model.recommend, user, arguments.top_k, rules=rules)) for user in alone)

    print(f"{data.name}: {len(model.item_ids)} items, D = 64 with item graph, K = {arguments.top_k}, {arguments.num_threads} threads")
    print(f"\n| rules | {len(users)} users, CPU s | ratio | one user, CPU ms | ratio |\n|---|---|---|---|---|")
    for name, rules in ({"none": None} | rule_sets(model)).items():
        if rules is not None:
            model.recommend(users[:10], arguments.top_k, rules=rules)  # binds the rules to the model
        found = []
        for measure in (together, one_by_one):
            rounds = [(measure(rules), measure(None)) for _ in range(ROUNDS)]
            own, bare = (statistics.median(times) for times in zip(*rounds, strict=True))
            found += [own, own / bare]
        print(f"| {name} | {found[0]:.3f} | {found[1]:.2f} | {1000 * found[2]:.2f} | {found[3]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
