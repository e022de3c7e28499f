"""The report: what it says about studies, comparisons and runs, and how its page behaves in a real browser."""

import itertools
import math
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.browser import opened
from ultragcn import load_dataset, storage
from ultragcn.cli import main
from ultragcn.config import configuration_for
from ultragcn.errors import MissingDependencyError, UsageError
from ultragcn.experiments import plots
from ultragcn.experiments.reports import report
from ultragcn.experiments.reports.studies import section as section_of
from ultragcn.experiments.runs.train import train_run
from ultragcn.experiments.studies import space
from ultragcn.experiments.studies.compare import compare
from ultragcn.experiments.studies.study import Study, open_folder

METRICS = ("valid_recall@20", "valid_ndcg@20")
EVIL = "<script>document.title='owned'</script><img src=x onerror=alert(1)> $x$ \" 나"


def write_study(folder, vary, value, *, seeds=(0, 1), protocol="clean", states=None, ended=None, **changes):
    """Write a study as sweep does; `value(parameters, seed)` is the NDCG of a run, or the whole row's changes."""
    study = Study(
        **{"name": "weights", "parameters": space.space_of(vary), "metrics": METRICS, "choose_by": METRICS[1], "seeds": seeds,
           "about": {"dataset": "electronics", "protocol": protocol, "data_hash": "d" * 64, "split_hash": "5" * 64}} | changes
    )  # fmt: skip
    for number, parameters in list(open_folder(folder, study))[:ended]:
        for seed in seeds:
            ndcg = value(parameters, seed)
            state = (states or {}).get((number, seed), "done")
            done = {METRICS[0]: 1.6 * ndcg, METRICS[1]: ndcg, "best_epoch": 3, "train_seconds": 0.5 + number, "peak_memory_mb": 230.5}
            row = dict.fromkeys(study.columns, "") | {name: str(value) for name, value in parameters.items()}
            row |= {"trial": number, "seed": seed, "state": state, "data_hash": "d" * 64, "versions": "ultragcn 0.1.0"}
            row |= {"ended": f"2026-11-24T16:{number:02}:00+00:00", "why": "memory ran out" if state == "failed" else ""}
            row |= done if state == "done" else {}
            storage.append_row(folder / "results.tsv", row)
            for epoch in range(1, 5):
                line = {"epoch": epoch, "seconds": epoch / 10, "loss": 1 / epoch, "ndcg@20": ndcg * (1 - 0.5**epoch)}
                storage.append_row(folder / f"trials/{number}-{seed}/history.tsv", line)
    return folder


def hill(parameters, seed):
    """Highest at weight 1; seeds differ a little."""
    return 0.08 - 0.01 * abs(parameters["weight"] - 1) - 0.002 * math.log10(parameters["l2"] / 1e-3) ** 2 + 0.0001 * seed


GRID = {"weight": [0.0, 0.5, 1.0, 2.0, 10.0], "l2": [1e-4, 1e-3, 1e-2]}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study") / "weights", GRID, hill)


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    return report([study], tmp_path_factory.mktemp("page") / "out")


class Words(HTMLParser):
    """The visible text of a page, and the tags that are in it."""

    def __init__(self, page):
        super().__init__()
        self.text, self.tags, self.inside = "", [], None
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside not in ("style", "script"):
            self.text += data + " "


# ------------------------------------------------------------- what it says


def test_a_study_names_its_best_trial_with_its_interval_and_where_it_is_from(page):
    text = Words(page).text
    # Trial 7 is weight 1, l2 1e-3: 0.08 and 0.0801; half a t-interval of two seeds is 12.706 x 0.00005.
    assert "Best: trial 7 with valid_ndcg@20 0.0801 ± 0.0006 (mean over 2 seeds), at weight 1, l2 0.001." in text
    for fact in ("electronics", "clean", "dddddddddddd", "15 of 15", "30 done", "2026-11-24 16:00 to 16:14 UTC", "ultragcn 0.1.0"):
        assert fact in text
    assert "Read with care" not in text


def test_numbers_chosen_on_test_carry_a_warning(tmp_path):
    folder = write_study(tmp_path / "study", {"weight": [0.5, 1.0], "l2": [1e-3]}, hill, protocol="authors")
    assert "Trials were chosen on the test set" in Words(report([folder], tmp_path / "out")).text


def test_each_plot_is_there_as_png_as_svg_and_inline_with_words_for_those_who_do_not_see_it(page):
    names = {path.name for path in (page.parent / "figures").iterdir()}
    stems = {
        "valid_ndcg@20-against-weight", "valid_ndcg@20-against-l2", "valid_ndcg@20-over-weight-and-l2", "valid_ndcg@20-by-epoch",
        "valid_recall@20-against-seconds",
    }  # fmt: skip
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    for path in (page.parent / "figures").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    inline = [attributes for tag, attributes in Words(page).tags if tag == "svg"]
    assert len(inline) == len(stems)
    assert all(attributes["role"] == "img" for attributes in inline)
    assert inline[0]["aria-label"].startswith("valid_ndcg@20 against weight. Best: 0.0801 at weight = 1, ringed.")


def test_no_id_comes_twice_though_plots_share_their_drawing(page):
    ids = [attributes["id"] for _, attributes in Words(page).tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 50


@pytest.mark.parametrize(("kept", "left_off"), [({"weight": "auto", "l2": 1e-3}, True), ({"weight": 3.0, "l2": 2e-3}, False)])
def test_the_page_says_by_how_much_what_is_kept_is_beaten_and_leaves_auto_off_axes_of_numbers(tmp_path, kept, left_off):
    def value(parameters, seed):
        return 0.05 if parameters == kept else hill(parameters, seed)

    folder = write_study(tmp_path / "study", GRID, value, kept=kept)
    words = Words(report([folder], tmp_path / "out")).text
    gain = r"Trial 8 beats trial 0, the settings in use without a sweep, by 0\.030\d in valid_ndcg@20 \(0\.080\d against 0\.0500\)"
    assert re.search(gain, words)
    assert ("Trial 0 has weight auto: not a number, so trial 0 is left off the plots with an axis for that." in words) == left_off
    section = section_of(folder)
    against_weight = next(plot for plot in section.plots if plot.title == "valid_ndcg@20 against weight")
    axes = against_weight.figure.axes[0]
    assert axes.get_xscale() == "symlog"
    lines = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 5]
    assert len(lines) >= 3  # a line for each L2 strength, whatever trial 0 has
    places = {float(x) for line in axes.lines for x in line.get_xdata()}
    assert (3.0 in places) == (not left_off)


def test_an_empty_study_says_so_and_shows_no_plot(tmp_path):
    folder = write_study(tmp_path / "study", GRID, hill, ended=0)
    words = Words(report([folder], tmp_path / "out"))
    assert "No trial has ended yet" in words.text
    assert not {"svg", "table"} & {tag for tag, _ in words.tags}


def test_one_trial_is_shown_and_said_to_show_nothing_about_its_parameters(tmp_path):
    folder = write_study(tmp_path / "study", GRID, hill, ended=1)
    text = Words(report([folder], tmp_path / "out")).text
    assert "One trial shows nothing about its parameters" in text
    assert "14 of 15 trials have not ended yet." in text


def test_failed_and_pruned_trials_and_nan_are_counted_named_and_on_no_plot(tmp_path):
    def value(parameters, seed):
        return math.nan if parameters["weight"] == 0.5 else hill(parameters, seed)

    vary = {"weight": [0.0, 0.5, 1.0, 2.0], "l2": [1e-3]}
    folder = write_study(tmp_path / "study", vary, value, states={(0, 1): "failed", (3, 0): "pruned", (3, 1): "pruned"})
    words = Words(report([folder], tmp_path / "out"))
    assert "5 done, 2 pruned, 1 failed" in words.text
    assert "What failed" in words.text
    assert "memory ran out" in words.text
    assert "1 trial ended without a number for valid_ndcg@20" in words.text
    assert "nan" not in " ".join(attributes.get("aria-label", "") for tag, attributes in words.tags if tag == "svg")


def test_a_study_in_which_everything_failed_has_a_page(tmp_path):
    folder = write_study(
        tmp_path / "study", {"weight": [0.0, 1.0], "l2": [1e-3]}, hill, seeds=(0,), states={(0, 0): "failed", (1, 0): "failed"}
    )
    text = Words(report([folder], tmp_path / "out")).text
    assert "no best and nothing to draw" in text


def test_the_lowest_is_best_where_the_study_minimises(tmp_path):
    folder = write_study(tmp_path / "study", {"weight": [0.0, 1.0], "l2": [1e-3]}, hill, direction="minimize")
    words = Words(report([folder], tmp_path / "out"))
    assert "Best: trial 0 " in words.text
    assert next(attributes["aria-sort"] for _, attributes in words.tags if "aria-sort" in attributes) == "ascending"
    assert "valid_ndcg@20, lowest" in words.text


def test_runs_on_the_same_data_share_a_section_and_those_under_another_protocol_do_not(tmp_path):
    clean, authors = (load_dataset("demo", protocol=protocol) for protocol in ("clean", "authors"))
    config = configuration_for("demo", epochs=3, seed=0)
    folders = [tmp_path / name for name in ("a", "b", "c")]
    train_run(clean, config, folders[0])
    train_run(clean, config.replace(embedding_dim=8), folders[1])
    metrics = train_run(authors, config, folders[2])
    (folders[1] / "metrics.json").unlink()  # as if it were still training
    text = Words(report(folders, tmp_path / "out")).text
    assert "2 runs on demo, protocol clean" in text
    assert "c on demo, protocol authors" in text
    assert "b: not finished" in text
    assert "embedding_dim" in text
    assert "the epoch was chosen on the test set" in text
    assert f"{metrics['test']['recall@20']:.4f}" in text


def test_a_seed_that_was_drawn_stands_in_the_command_that_repeats_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ultragcn", "train", "--seed", "auto", "--quiet"])
    config = configuration_for("demo", seed=None, epochs=1)
    metrics = train_run(load_dataset("demo"), config, tmp_path / "run")
    text = Words(report([tmp_path / "run"], tmp_path / "out")).text
    assert f"ultragcn train --seed {metrics['seed']} --quiet" in text


def test_a_comparison_shows_its_table_and_does_it_again(tmp_path, monkeypatch):
    given = ["compare", "--dataset", "log.csv", "--split", "last", "--models", "popularity,itemknn", "--seeds", "4,"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ultragcn", *given])
    random = np.random.default_rng(0)
    pairs = [f"u{user},{'ab'[user % 2]}{item}" for user in range(40) for item in random.permutation(15)[:8]]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["user,item", *pairs]) + "\n")
    out = tmp_path / "compared"
    table = compare({"source": log}, ["popularity", "itemknn"], [4], out, metrics=["recall@5", "ndcg@5"])
    text = Words(report([out], out / "report")).text
    for line in table.lines:
        assert f"{line.means['recall@5']:.4f}" in text
    assert " ".join(["ultragcn", *given]) in text
    about = storage.read_json(out / "comparison.json")
    del about["command"]  # as it was written before
    storage.write_json(out / "comparison.json", about)
    runs = (out / "runs.tsv").read_text()
    assert "popularity\t0\t" in runs  # draws nothing, so it is run as seed 0
    (out / "runs.tsv").write_text(runs.replace("popularity\t0\t", "popularity\t4\t").replace("itemknn\t0\t", "itemknn\t4\t"))
    of_before = Words(report([out], out / "report")).text
    assert "ultragcn compare --dataset log --protocol clean --models popularity,itemknn --seeds 4, --metrics recall@5,ndcg@5" in of_before
    assert f"Best: {table.lines[0].model} with recall@5" in text


def test_the_command_says_where_the_page_is_and_writing_again_leaves_no_plots_of_before(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["report", str(study), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"page\t{out / 'index.html'}\n"
    (out / "figures/old.png").write_bytes(b"of another study")
    assert main(["report", str(study), str(out), "--out", str(out)]) == 0  # runs/* matches the report too
    assert not (out / "figures/old.png").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "there is no folder"),
        (lambda folder: folder.mkdir(), "holds no study, comparison or run; give a folder"),
        (lambda folder: storage.write_json(folder / "a/manifest.json", {}), "holds no study, comparison or run; give those inside it"),
        (lambda folder: storage.write_json(folder / "manifest.json", {}), "is not as ultragcn train writes it"),
        (lambda folder: storage.write_json(folder / "comparison.json", {}), "is not as ultragcn compare writes it"),
        (lambda folder: storage.write_json(folder / "study.json", {}), "is not as ultragcn sweep writes it"),
        (lambda folder: storage.write_text(folder / "study.json", "{"), "not valid JSON"),
    ],
)
def test_what_cannot_be_reported_on_is_one_sentence_and_nothing_is_written(make, message, tmp_path, capsys):
    make(tmp_path / "given")
    assert main(["report", str(tmp_path / "given"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_of_several_folders_those_without_anything_are_left_out_and_named(study, tmp_path, capsys):
    (tmp_path / "stray").mkdir()
    assert main(["report", str(study), str(tmp_path / "stray"), "--out", str(tmp_path / "out")]) == 0
    assert f"{tmp_path / 'stray'} holds no study, comparison or run" in capsys.readouterr().err
    assert str(study.name) in (tmp_path / "out" / "index.html").read_text()
    assert main(["report", str(study), str(tmp_path / "nosuch"), "--out", str(tmp_path / "again")]) == 2
    assert main(["report", str(tmp_path / "stray"), str(tmp_path), "--out", str(tmp_path / "again")]) == 2
    assert not (tmp_path / "again").exists()


def test_a_folder_of_something_else_is_left_alone(study, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match=r"already holds files of something else \(thesis.tex\)"):
        report([study], tmp_path)


def test_without_matplotlib_it_says_what_to_install(study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"a report needs matplotlib; in the repository, run: pip install '\.\[report\]'"):
        report([study], tmp_path / "out")


# ------------------------------------------------------------- plots


def points(values, **others):
    return [plots.Point({"x": value, **others}, 0.1 - 0.001 * rank, None, str(value), 1.0 + rank) for rank, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ((1e-5, 1e-4, 1e-3), "log"), ((5, 10, 20, 50), "log"), ((0.1, 0.2, 0.3), "linear"), ((0, 0.5, 1), "linear"),
        ((0.0, 0.001, 0.01, 0.1), "symlog"), (("a", "b"), "linear"), ((True, False), "linear"), ((-1.0, 10.0, 1000.0), "linear"),
    ],
)  # fmt: skip
def test_the_axis_is_logarithmic_where_the_values_are_even_on_it(values, scale):
    plot = plots.against_parameter(points(values), "x", "m")
    assert plot.figure.axes[0].get_xscale() == scale
    assert len(plot.figure.axes[0].get_xticks()) == len(values)


def test_all_points_and_their_intervals_are_within_the_axes(study, page):
    drawn = [plots.Point({"x": x, "y": y}, 0.1 * x + y, (0.1 * x + y - 5, 0.1 * x + y + 7), "", 1.0) for x in (0, 1, 10) for y in (2, 3)]
    axes = plots.against_parameter(drawn[::-1], "x", "m").figure.axes[0]
    (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
    assert low < -3
    assert high > 11
    assert left < 0
    assert right > 10


def test_a_heat_map_has_a_cell_for_each_pair_and_chance_gets_points():
    grid = [plots.Point({"x": x, "y": y}, float(10 * x + y), None) for x in (3, 2, 1) for y in (2, 1)]
    cells = [text.get_text() for text in plots.over_two_parameters(grid, "x", "y", "m").figure.axes[0].texts]
    assert sorted(cells) == ["11.0000", "12.0000", "21.0000", "22.0000", "31.0000", "32.0000"]
    random = np.random.default_rng(0)
    scattered = [plots.Point({"x": float(x), "y": float(y)}, 1 - float(x), None) for x, y in sorted(random.random((20, 2)).tolist())]
    axes = plots.over_two_parameters(scattered, "x", "y", "m").figure.axes[0]
    assert not axes.texts
    assert len(axes.collections[0].get_offsets()) == 20


def labels_shown(axis):
    """Boxes and texts of the labels of ticks that one sees, in order."""
    ticks = [tick for tick in axis.get_major_ticks() if tick.label1.get_visible() and tick.label1.get_text()]
    low, high = sorted(axis.get_view_interval())
    ticks = sorted((tick for tick in ticks if low <= tick.get_loc() <= high), key=lambda tick: tick.get_loc())
    return [tick.label1.get_window_extent() for tick in ticks], [tick.label1.get_text() for tick in ticks]


def drawn_values(low, high, count):
    return [float(f"{value:.5g}") for value in np.exp(np.random.default_rng(1).uniform(np.log(low), np.log(high), count))]


@pytest.mark.parametrize(
    "values",
    [
        [0.1, 0.105, 0.11, 0.2, 0.21, 1.0, 10.0], [0.0, 0.001, 0.0011, 0.1, 0.11], drawn_values(0.3, 0.9, 12), drawn_values(1e-5, 10, 14),
        drawn_values(0.01, 0.2, 9), [1000, 1001, 1002, 2000, 4000, 100000], [0.123456, 0.123457, 0.5], list(range(30)),
    ],
    ids=str,
)  # fmt: skip
def test_labels_of_an_axis_never_stand_over_each_other_and_there_are_some(values):
    plot = plots.against_parameter(points(values), "x", "m")
    plot.svg()
    boxes, texts = labels_shown(plot.figure.axes[0].xaxis)
    assert len(texts) >= 2
    assert all(before.x1 < after.x0 for before, after in itertools.pairwise(boxes))
    upright = [point._replace(parameters={"x": place, "y": point.parameters["x"]}) for place, point in enumerate(points(values))]
    boxes, texts = labels_shown(plots.over_two_parameters(upright, "x", "y", "m").figure.axes[0].yaxis)
    assert len(texts) >= 2
    assert all(before.y1 < after.y0 for before, after in itertools.pairwise(boxes))


def test_there_is_no_epoch_one_and_a_half():
    for epochs in ([1, 2], [1, 2, 3], list(range(1, 8))):
        plot = plots.curves([plots.Curve("a", epochs, [0.1] * len(epochs))], "m", "epoch")
        plot.svg()
        assert all(float(text.replace("\N{MINUS SIGN}", "-")).is_integer() for text in labels_shown(plot.figure.axes[0].xaxis)[1])
    whole = plots.against_parameter(points(list(range(1, 12))), "x", "m").figure.axes[0]
    assert all(float(tick).is_integer() for tick in whole.get_xticks())


def test_values_that_were_drawn_are_points_also_beside_a_list_of_few():
    values = drawn_values(0.01, 1, 10)
    mixed = [plots.Point({"x": [8, 16][place % 2], "y": value}, -float(place), None) for place, value in enumerate(values)]
    axes = plots.over_two_parameters(mixed, "x", "y", "m").figure.axes[0]
    assert len(axes.collections[0].get_offsets()) == 10
    two = plots.over_two_parameters(mixed[:2], "x", "y", "m").figure.axes[0]
    assert len(two.collections[0].get_offsets()) == 2
    unfinished = [plots.Point({"x": x, "y": y}, -float(x), None) for x, y in ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1))]
    assert len(plots.over_two_parameters(unfinished, "x", "y", "m").figure.axes[0].texts) == 5


def test_a_star_says_what_the_finished_model_is_worth_where_its_curve_does_not():
    grown = plots.Curve("trial 3", [1, 2, 3], [0.1, 0.2, 0.25], at_the_end=0.3)
    kept = plots.Curve("trial 4", [1, 2, 3], [0.1, 0.24, 0.2], at_the_end=0.24)
    plot = plots.curves([grown, kept], "m", "epoch")
    stars = [line for line in plot.figure.axes[0].lines if line.get_marker() == "*" and len(line.get_xdata())]
    assert [(star.get_xdata()[0], star.get_ydata()[0]) for star in stars] == [(3, 0.3)]
    assert plot.description.endswith("the finished ones, with what is chosen after the last epoch: trial 3 0.3000.")
    assert "finished" not in plots.curves([kept], "m", "epoch").description


def test_only_what_nothing_faster_matches_is_joined():
    drawn = [plots.Point({}, mean, None, name, seconds) for name, mean, seconds in (("best", 0.9, 9), ("quick", 0.6, 1), ("late", 0.5, 5))]
    plot = plots.against_seconds(drawn, "m")
    assert plot.figure.axes[0].lines[0].get_xdata().tolist() == [1, 9]
    assert "Fastest: quick with 0.6000" in plot.description


def test_curves_of_very_different_length_lie_on_a_log_scale_with_their_intervals_and_a_title_of_ones_own():
    quick = plots.Curve("quick", [0.1, 0.2], [0.3, 0.4], [(0.2, 0.5), (0.3, 0.6)])
    axes = plots.curves([quick, plots.Curve("slow", [1, 90], [0.1, 0.4])], "m", "seconds", "my data").figure.axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_title(loc="left") == "my data"
    (band,) = axes.collections
    low, high = band.get_datalim(axes.transData).intervaly
    assert (low, high) == pytest.approx((0.2, 0.6))
    assert plots.curves([quick], "m", "seconds").figure.axes[0].get_xscale() == "linear"


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.side_by_side(points(("a", "b")), "m", "title", "users").svg()
    assert dict(matplotlib.rcParams) == before


# ------------------------------------------------------------- in the browser


def test_the_page_asks_for_nothing_and_complains_about_nothing(page, tmp_path):
    alone = shutil.copy(page, tmp_path / "alone.html")  # without its figures
    with opened(Path(alone)) as (tab, complaints, requests):
        assert tab.locator("svg").count() == 5
        assert complaints == []
        assert requests == [Path(alone).as_uri()]


def test_a_column_sorts_by_click_and_by_key_numbers_as_numbers(page):
    with opened(page) as (tab, complaints, _):
        weights = "Array.from(document.querySelector('table').tBodies[0].rows, row => Number(row.cells[1].textContent))"
        assert tab.evaluate(weights)[0] == 1
        head = tab.locator("table").first.locator("th", has_text="weight")
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert tab.locator("table").first.locator("[aria-sort]").count() == 1
        assert tab.evaluate(weights) == sorted([0, 0.5, 1, 2, 10] * 3)  # as text, 10 would come before 2
        head.locator("button").focus()
        tab.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert tab.evaluate(weights) == sorted([0, 0.5, 1, 2, 10] * 3, reverse=True)
        assert complaints == []


def test_what_is_missing_is_sorted_last_both_ways(tmp_path):
    folder = write_study(tmp_path / "study", {"weight": [0.0, 1.0, 2.0], "l2": [1e-3]}, hill, seeds=(0,), states={(1, 0): "failed"})
    with opened(report([folder], tmp_path / "out")) as (tab, _, _):
        states = "Array.from(document.querySelector('table').tBodies[0].rows, row => row.cells[row.cells.length - 1].textContent)"
        for _ in range(2):
            tab.locator("table").first.locator("th", has_text="valid_ndcg@20").locator("button").click()
            assert tab.evaluate(states)[-1] == "failed"


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_is_never_wider_than_the_screen(page, width):
    with opened(page, viewport={"width": width, "height": 844}) as (tab, _, _):
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        if width < 1000:  # a wide table scrolls in its own box
            assert tab.locator(".wide").first.evaluate("box => box.scrollWidth > box.clientWidth")


def luminance(colour):
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_dark_is_dark_plots_too_and_all_letters_stand_out_in_both(page):
    style = "(node, name) => getComputedStyle(node)[name]"
    behind = {}
    for scheme in ("light", "dark"):
        with opened(page, color_scheme=scheme) as (tab, _, _):
            behind[scheme] = luminance(tab.locator("body").evaluate(style, "backgroundColor"))
            for selector, name in (("h1", "color"), ("dt", "color"), ("figcaption", "color"), ("td", "color"), ("figure svg text", "fill")):
                letters = luminance(tab.locator(selector).first.evaluate(style, name))
                light, dark = max(letters, behind[scheme]), min(letters, behind[scheme])
                assert (light + 0.05) / (dark + 0.05) > 4.5, (scheme, selector)
    assert behind["light"] > 0.8
    assert behind["dark"] < 0.05


def test_what_a_study_is_called_or_set_to_is_text_never_markup(tmp_path):
    vary = {"kind": [EVIL, "plain", "</svg><script>document.title='owned'</script>"]}
    folder = write_study(tmp_path / "study", vary, lambda parameters, seed: 0.1 if parameters["kind"] == EVIL else 0.05, name=EVIL)
    with opened(report([folder], tmp_path / "out")) as (tab, complaints, requests):
        assert tab.title().startswith(EVIL)
        assert tab.locator("script").count() == 1
        assert tab.locator("img").count() == 0
        assert EVIL in tab.locator("table").first.inner_text()
        assert complaints == []
        assert len(requests) == 1


def test_headings_do_not_skip_a_level_and_everything_to_press_has_a_name(page, study, tmp_path):
    second = write_study(tmp_path / "second", {"weight": [0.0, 1.0], "l2": [1e-3]}, hill)
    for path in (page, report([study, second], tmp_path / "out")):
        with opened(path) as (tab, _, _):
            levels = tab.evaluate("Array.from(document.querySelectorAll('h1,h2,h3,h4'), head => Number(head.tagName[1]))")
            assert levels[0] == 1
            assert levels.count(1) == 1
            assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
            assert all(name.strip() for name in tab.locator("button, a").all_text_contents())
            assert tab.locator("html").get_attribute("lang") == "en"


# ------------------------------------------------------------- the wheel


def test_importing_the_report_loads_no_matplotlib():
    code = "import sys, ultragcn.experiments.reports; sys.exit('matplotlib' in sys.modules)"
    src = Path(__file__).parents[1] / "src"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(src), "PATH": ""}, timeout=60).returncode == 0
