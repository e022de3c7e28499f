"""The command: what it prints where, what it leaves behind, how it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ultragcn import UltraGCN, load_dataset
from ultragcn.cli import main, output
from ultragcn.config import PARAMETERS, Config, configuration_for, help_of, in_text, parse_value, read_config
from ultragcn.errors import UsageError
from ultragcn.models.itemknn import ItemKNN
from ultragcn.models.popularity import Popularity

SRC = Path(__file__).parents[1] / "src"
QUICK = ["--epochs", "2", "--device", "cpu", "--quiet"]


def ultragcn(*words, cwd, **environment):
    clean = {name: value for name, value in os.environ.items() if name != "ULTRAGCN_DATA_DIR"}
    return subprocess.run(
        [sys.executable, "-m", "ultragcn", *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120,
        env=clean | {"PYTHONPATH": str(SRC)} | environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "demo"
    done = ultragcn("train", *QUICK, "--out", folder, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert "best reachable\trecall@20\t0.5" in done.stdout
    return folder


def test_a_run_folder_holds_manifest_history_metrics_and_model(run_folder):
    assert sorted(path.name for path in run_folder.iterdir()) == ["history.tsv", "manifest.json", "metrics.json", "model.safetensors"]
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert metrics.keys() >= {
        "dataset", "protocol", "solver", "seed", "train_seconds", "compile_seconds", "peak_memory_mb", "valid", "test",
    }  # fmt: skip
    assert metrics["test"].keys() >= {"recall@20", "ndcg@20", "num_users"}
    manifest = json.loads((run_folder / "manifest.json").read_text())
    assert manifest.keys() >= {"config", "versions", "data_hash", "git_commit", "protocol"}
    assert len((run_folder / "history.tsv").read_text().splitlines()) == 3


@pytest.mark.parametrize("refit", [False, True])
def test_train_on_a_log_of_one_s_own_prints_what_popularity_reaches_on_the_same_pairs(log, tmp_path, capsys, refit):
    words = [
        "train",
        "--dataset",
        str(log),
        "--model",
        "itemknn",
        "--out",
        str(tmp_path / "run"),
        "--quiet",
        *(["--refit"] if refit else []),
    ]
    assert main(words) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    data = load_dataset(log)
    popular = Popularity().fit(data.train.union(data.valid)) if refit else Popularity().fit(data.train, data.valid)
    wanted = popular.evaluate(data.test, ["recall@20", "ndcg@20"])
    assert [line for line in lines if line[0] == "popularity"] == [
        ["popularity", label, f"{wanted[label]:.5g}"] for label in ("recall@20", "ndcg@20")
    ]
    assert json.loads((tmp_path / "run/metrics.json").read_text())["popularity"] == {
        label: pytest.approx(wanted[label]) for label in ("recall@20", "ndcg@20")
    }


def test_beside_popularity_itself_and_a_public_data_set_no_popularity_is_printed(log, run_folder, tmp_path, capsys):
    assert main(["train", "--dataset", str(log), "--model", "popularity", "--out", str(tmp_path / "run"), "--quiet"]) == 0
    assert not any(line.startswith("popularity") for line in capsys.readouterr().out.splitlines())
    assert "popularity" not in json.loads((run_folder / "metrics.json").read_text())


def test_evaluate_repeats_the_test_metrics_of_the_run(run_folder):
    done = ultragcn("evaluate", run_folder, "--metrics", "recall@20,ndcg@20", cwd=run_folder)
    assert done.returncode == 0, done.stderr
    printed = dict(line.split("\t") for line in done.stdout.splitlines())
    test = json.loads((run_folder / "metrics.json").read_text())["test"]
    assert float(printed["recall@20"]) == pytest.approx(test["recall@20"], rel=1e-5)
    assert int(printed["num_users"]) == test["num_users"]


@pytest.mark.parametrize("kind", ["tsv", "json", "parquet"])
def test_recommend_writes_ranked_lists_in_every_format(run_folder, tmp_path, kind):
    file = tmp_path / f"lists.{kind}"
    done = ultragcn(
        "recommend", run_folder, "--users", "user-0001", "user-0002", "--top_k", 3, "--format", kind, "--output", file, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    if kind == "tsv":
        rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()[1:]]
    elif kind == "json":
        rows = [list(json.loads(line).values()) for line in file.read_text(encoding="utf-8").splitlines()]
    else:
        import polars as pl

        rows = pl.read_parquet(file).rows()
    assert [str(row[0]) for row in rows] == ["user-0001"] * 3 + ["user-0002"] * 3
    assert [int(row[1]) for row in rows] == [1, 2, 3, 1, 2, 3]


def test_integer_ids_are_written_as_json_too(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id\n" + "".join(f"{user},{item}\n" for user in range(12) for item in range(user % 3, 40, 3)))
    trained = ultragcn("train", "--dataset", log, "--embedding_dim", 4, "--epochs", 1, "--out", tmp_path / "run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    done = ultragcn("recommend", tmp_path / "run", "--users", 1, 2, "--top_k", 2, "--format", "json", cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["user_id"] for row in rows] == [1, 1, 2, 2]
    similar = ultragcn("similar", tmp_path / "run", "--item", 5, "--top_k", 3, "--format", "json", cwd=tmp_path)
    assert all(isinstance(json.loads(line)["item_id"], int) for line in similar.stdout.splitlines())
    assert len(similar.stdout.splitlines()) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_link_and_a_pipe_stay_what_they_are(run_folder, tmp_path):
    words = ("recommend", run_folder, "--users", "user-0001", "--top_k", 2, "--output")
    (tmp_path / "link.tsv").symlink_to(tmp_path / "lists.tsv")
    assert ultragcn(*words, "link.tsv", cwd=tmp_path).returncode == 0
    assert (tmp_path / "link.tsv").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    assert ultragcn(*words, "pipe", cwd=tmp_path).returncode == 0
    reader.join(60)
    assert read == [(tmp_path / "lists.tsv").read_text()]
    assert (tmp_path / "pipe").is_fifo()
    done = ultragcn(*words, tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"ultragcn: cannot write {tmp_path}: it is no file; give the name of one\n")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full")
def test_a_stdout_that_takes_no_more_is_one_line(run_folder):
    words = [sys.executable, "-m", "ultragcn", "recommend", str(run_folder), "--all"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(SRC)})
    assert (done.returncode, done.stderr) == (1, "ultragcn: cannot write to stdout: No space left on device\n")


def test_a_saved_baseline_recommends_too(tmp_path, capsys):
    data = load_dataset("demo")
    model = ItemKNN().fit(data.train)
    model.save(tmp_path / "knn")
    items, _ = model.recommend("user-0001", top_k=3)
    assert main(["recommend", str(tmp_path / "knn"), "--users", "user-0001", "--top_k", "3"]) == 0
    assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()[1:]] == items.tolist()
    assert main(["similar", str(tmp_path / "knn"), "--item", items[0], "--top_k", "1"]) == 0
    assert capsys.readouterr().out.startswith("rank\titem_id")
    assert main(["similar", str(tmp_path / "knn"), "--user", "user-0001"]) == 2
    assert "ItemKNN learns no embeddings of users" in capsys.readouterr().err


def test_a_manifest_that_does_not_say_what_it_must_is_one_line(run_folder, tmp_path, capsys):
    run = shutil.copytree(run_folder, tmp_path / "run")
    (run / "manifest.json").write_text("{}")
    assert main(["evaluate", str(run)]) == 2
    assert (
        capsys.readouterr().err
        == f"ultragcn: {run}/manifest.json does not say versions, as train writes it; put it back as it was, or train anew\n"
    )


def test_recommend_all_lists_every_user_on_stdout(run_folder):
    done = ultragcn("recommend", run_folder, "--all", "--top_k", 1, cwd=run_folder)
    assert len(done.stdout.splitlines()) == 2001


@pytest.mark.parametrize(
    ("name", "starts"),
    [("lists.parquet", b"PAR1"), ("lists.jsonl", b'{"user_id"'), ("lists.txt", b"user_id\t"), ("lists.csv", b"user_id,rank,")],
)
def test_the_name_of_the_file_says_how_it_is_written(run_folder, tmp_path, name, starts):
    done = ultragcn("recommend", run_folder, "--all", "--top_k", 1, "--output", tmp_path / name, cwd=run_folder)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).read_bytes().startswith(starts)


def test_what_changes_nothing_is_warned_of(tmp_path):
    (tmp_path / "log.csv").write_text("".join(f"u{user},i{(user + place) % 9}\n" for user in range(12) for place in range(5)))
    done = ultragcn("train", "--dataset", "log.csv", "--epochs", 1, "--num_negatives", 3, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning: num_negatives has no effect without solver sgd" in done.stderr


def test_similar_lists_items_and_users(run_folder):
    for what, name in (("--item", "Quiet River (jazz)"), ("--user", "user-0003")):
        done = ultragcn("similar", run_folder, what, name, "--top_k", 4, cwd=run_folder)
        assert len(done.stdout.splitlines()) == 5, done.stderr


def test_datasets_lists_names_sizes_and_what_is_here(tmp_path):
    done = ultragcn("datasets", cwd=tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "name", "demo", "gowalla", "yelp2018", "amazon-book", "ml-1m", "amazoncds", "electronics", "ml-latest-small",
        "movietweetings-100k",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], "did you mean train"), ([], "give a command"), (["train", "--epoch", "3"], "did you mean --epochs"),
        (["train", "--epochs", "abc"], "epochs must be a whole number"),
        (["train", "--epochs", "-1"], "epochs must be a whole number of 1 or more, or None (auto), not '-1'"),
        (["train", "--dataset", "nosuch"], "unknown data set 'nosuch'"), (["train", "--dataset", "gowala"], "did you mean gowalla"),
        (["train", "--dataset", "./nosuch/"], "is not a file or a folder"), (["train", "--solver", "sdg"], "did you mean sgd"),
        (["train", "--protocol", "dirty"], "--protocol must be one of 'clean', 'authors', not 'dirty'"),
        (["train", "--split_seed", "x"], "--split_seed must be a whole number, not 'x'"),
        (["train", "--dataset", ""], "--dataset is empty; give a value, or leave the option out"), (["train", "--out="], "--out is empty"),
        (["recommend", "", "--all"], "an argument is empty"), (["train", "--resume", "."], ". has no manifest.json; give a folder"),
        (["evaluate", "run", "--min_rating", "4"], "--min_rating goes only with --ranking without RUN, because a run has its own data"),
        (["train", "--top_k", "5"], "unknown option --top_k, which is not an option of train; these commands have it: recommend, similar"),
        (["sweep", "--vary", "l2_user=log:0.1"], "a range is written LOW:HIGH"),
        (["sweep", "--dataset", "no.csv", "--vary", "l2_usr=0.1,0.2"], "did you mean l2_user"),
        (["sweep", "--dataset", "no.csv", "--vary", "l2_user=0.1,0.2", "--jobs", "0"], "jobs must be a whole number of 1 or more"),
        (["sweep", "--dataset", "no.csv", "--vary", "l2_user=0.1,0.2", "--threads", "-1"], "threads must be a whole number of 1 or more"),
        (["train", "--config", "no.toml"], "cannot read the configuration"),
        (["train", "--refit", "--protocol", "authors"], "refit needs the clean protocol"), (["train", "--epochs"], "expected one argument"),
        (["train", "stray.csv"], "did you mean --dataset stray.csv?"), (["evaluate", "nosuch"], "no run folder"),
        (["recommend", "x", "--format", "parquet", "--all"], "--output"),
        (["recommend", "x"], "required"), (["recommend", "--users", "1", "x"], "put RUN before --users"),
        (["train", "--solver", "sgd", "--device", "cuda"], "no GPU"),
        pytest.param(["train", "--device", "cuda"], "no GPU", marks=pytest.mark.torch),
        (["train", "--select_by", "recall", "--dataset", "no.csv"], "name@K"),
        (["train", "--out", "afile", "--dataset", "no.csv"], "cannot use afile as run folder: Not a directory"),
        (["train", "--dataset", "electronics", "--data_dir", "afile"], "cannot read the folder"),
    ],
)  # fmt: skip
def test_misuse_ends_with_status_2_and_one_line_and_trains_nothing(tmp_path, words, says):
    (tmp_path / "afile").write_text("")
    if words[-1:] == ["cuda"]:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("there is a GPU here")
    done = ultragcn(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert says in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("ultragcn: ")]
    assert len(errors) == 1
    if words:
        assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["afile"]


@pytest.mark.parametrize("name", ["a\tb", "a\nb"])
def test_what_a_line_of_tsv_cannot_hold_is_refused(name):
    with pytest.raises(UsageError, match="has a tab or a line break, which TSV cannot hold; give --format csv or json"):
        list(output._lines("tsv", ("item_id",), [(name,)]))
    assert json.loads(next(output._lines("json", ("item_id",), [(name,)]))) == {"item_id": name}


def test_a_folder_in_use_is_not_overwritten_unless_told(run_folder):
    before = (run_folder / "model.safetensors").read_bytes()
    done = ultragcn("train", *QUICK, "--out", run_folder, cwd=run_folder)
    assert done.returncode == 2
    assert "already holds files" in done.stderr
    assert (run_folder / "model.safetensors").read_bytes() == before


def test_a_folder_of_something_else_is_left_alone_even_with_overwrite(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    done = ultragcn("train", *QUICK, "--out", ".", "--overwrite", "--dataset", "no.csv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2, "ultragcn: . already holds files of something else (thesis.tex); give another --out\n",
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", [name for name, declared in PARAMETERS.items() if declared.metadata["auto"]])
def test_what_is_not_given_is_none_and_auto_in_text(name):
    assert parse_value(name, "auto") is None
    assert Config(**{name: None}) == Config(**{name: "Auto"})
    assert in_text(getattr(Config(**{name: None}), name)) == "auto"
    assert f"auto: {PARAMETERS[name].metadata['auto']}" in help_of(PARAMETERS[name])
    with pytest.raises(UsageError, match=rf"{name} must be .*, or None \(auto\), not '-1'"):
        parse_value(name, "-1")


@pytest.mark.parametrize("name", ["epochs", "patience", "item_trend_half_life", "tile_megabytes"])
def test_zero_does_not_stand_for_what_is_not_given(name):
    with pytest.raises(UsageError, match=rf"{name} must be .*, or None \(auto\), not 0"):
        Config(**{name: 0})


def test_what_has_no_auto_must_be_given():
    for value in (None, "auto"):
        with pytest.raises(UsageError, match="embedding_dim must be a whole number of 1 or more, not"):
            Config(embedding_dim=value)


def test_resolved_has_no_none_that_the_solver_needs_and_keeps_what_is_given():
    for config in (Config(), Config(solver="sgd"), Config(l2_user=0.4, patience=7, item_graph_weight=0.0)):
        given = {name: value for name, value in config.to_dict().items() if value is not None}
        resolved = config.resolved()
        assert given.items() <= resolved.to_dict().items()
        assert resolved.resolved() == resolved
        left = {name for name, value in resolved.to_dict().items() if value is None}
        assert left == {"tile_megabytes", "num_clusters"} | ({"l2_user", "l2_item", "select_users"} if config.solver == "sgd" else set())
    assert (Config().resolved().patience, Config(l2_user=0.1, l2_item=0.1).resolved().patience) == (8, 3)
    assert Config(solver="sgd").resolved().epochs == 2000
    assert Config().fingerprint() != Config().resolved().fingerprint()  # the one chooses, the other has what it stands for without


def test_an_unknown_user_is_one_line(run_folder):
    done = ultragcn("recommend", run_folder, "--users", "nobody", cwd=run_folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "unknown user id 'nobody'" in done.stderr


INI = """[Model]
embedding_dim=8
ii_neighbor_num=3
model_save_path=./x.pt
max_epoch=2
enable_tensorboard=True
initial_weight=1e-2

[Training]
dataset=demo
train_file_path=./data/train.txt
gpu=0 #need to specify the available gpu index
learning_rate=1e-2
batch_size=1024
early_stop_epoch=15
w1=1e-7
w2=1
w3=1e-7
w4=1
negative_num=10
negative_weight=10
gamma=1e-4
lambda=1e-3
sampling_sift_pos=False

[Testing]
test_batch_size=128
topk=10
test_file_path=./data/test.txt
"""


@pytest.mark.torch
def test_an_authors_ini_file_runs_as_it_is(tmp_path):
    (tmp_path / "authors.ini").write_text(INI)
    (tmp_path / "data").mkdir()
    lines = [" ".join(map(str, [user, *range(user % 5, 12 + user % 5)])) for user in range(40)]
    (tmp_path / "data/train.txt").write_text("\n".join(lines))
    (tmp_path / "data/test.txt").write_text("\n".join(f"{user} {12 + user % 5}" for user in range(40)))
    done = ultragcn("train", "--config", "authors.ini", "--protocol", "authors", "--quiet", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "run/manifest.json").read_text())["config"]
    assert (config["item_item_weight"], config["l2_weight"], config["num_negatives"], config["epochs"]) == (1e-3, 1e-4, 10, 2)
    assert (config["select_by"], config["init_std"], config["num_item_neighbors"]) == ("recall@10", 1e-2, 3)
    again = ultragcn("evaluate", "run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_the_authors_names_are_understood_in_their_files_alone(tmp_path, capsys):
    assert main(["train", "--gamma", "0.5"]) == 2
    assert "unknown option --gamma" in capsys.readouterr().err
    (tmp_path / "mine.toml").write_text("lambda = 0.25\n")
    for given in (
        lambda: UltraGCN(**{"lambda": 0.25}),
        lambda: configuration_for("demo", **{"lambda": 1}),
        lambda: read_config(tmp_path / "mine.toml"),
    ):
        with pytest.raises(UsageError, match=r"what the authors' code calls lambda is item_item_weight here; .*\.ini files only"):
            given()
    (tmp_path / "twice.ini").write_text("[Model]\ngamma=1\nl2_weight=2\n")
    with pytest.raises(UsageError, match="l2_weight is given twice"):
        read_config(tmp_path / "twice.ini")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "--gamma", "0.5"], "what the authors' code calls gamma is --l2_weight here; lambda and gamma are understood in"),
        (["train", "--factors", "64"], "what implicit calls factors is --embedding_dim here"),
        (["train", "--lr", "0.1"], "what PyTorch and cornac call lr is --learning_rate here"),
        (["train", "--iterations", "3"], "what implicit calls iterations is --epochs here"),
        (["train", "--regularization", "3"], "is --l2_user and --l2_item here; its scale is another one"),
        (["train", "--model", "ease", "--regularization", "3"], "is --l2 here"),
        (["train", "--model", "ease", "--learning_rate", "3"], "which is not a hyper-parameter of ease; it belongs to --model ultragcn, "),
        (["train", "--model", "ese"], "unknown model 'ese'; did you mean ease?"),
        (["train", "--model", "ease", "--help_me"], "did you mean --help?"),
        (["train", "-d", "demo"], "cannot make sense of '-d'; options have whole names; did you mean --dataset?"),
        (["train", "-epochs", "3"], "options begin with two dashes: --epochs"),
        (["recommend", "x", "--user", "3"], "unknown option --user; did you mean --users?"),
        (["recommend", "x", "--users", "3", "--N", "5"], "what implicit calls N is --top_k here"),
        (["similar", "x", "--items", "3"], "unknown option --items; did you mean --item?"),
        (["evaluate", "x", "--split", "valid"], "--split says how data are split; what to evaluate on is --part valid"),
    ],
)  # fmt: skip
def test_each_command_gives_its_own_advice(capsys, words, says):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)


def test_refit_trains_on_train_and_validation_for_the_epochs_chosen(tmp_path):
    done = ultragcn("train", *QUICK, "--evaluate_every", "1", "--refit", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    refused = ultragcn("evaluate", "run", "--part", "valid", cwd=tmp_path)
    assert refused.returncode == 2
    assert "refitted" in refused.stderr


def test_ctrl_c_leaves_a_loadable_run(tmp_path):
    words = [sys.executable, "-m", "ultragcn", "train", "--out", "run", "--epochs", "100000", "--patience", "100000", "--quiet"]
    with subprocess.Popen(words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(SRC)}, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 90
        history = tmp_path / "run/history.tsv"
        while not (history.exists() and len(history.read_text().splitlines()) > 2) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    [line] = [line for line in errors.splitlines() if "interrupted" in line]
    assert line == "ultragcn: interrupted; the best model so far is in run; go on by --resume run"
    assert json.loads((tmp_path / "run/metrics.json").read_text())["stopped"] == "interrupted"
    assert ultragcn("recommend", "run", "--users", "user-0001", cwd=tmp_path).returncode == 0


def test_an_interrupt_before_the_first_sweep_says_that_there_is_no_model(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("ultragcn.solvers.exact.ExactSolver.start", interrupted)
    assert main(["train", "--quiet", "--out", str(tmp_path / "run")]) == 130
    [line] = [line for line in capsys.readouterr().err.splitlines() if "interrupted" in line]
    run = tmp_path / "run"
    assert line == f"ultragcn: interrupted before an epoch ended; there is no model in {run}; begin again by --resume {run}"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["manifest.json"]


def test_importing_the_library_loads_neither_torch_nor_numba_and_is_quick(tmp_path):
    code = (
        "import sys, time; t = time.perf_counter(); import ultragcn; s = time.perf_counter() - t;"
        "print(s, 'torch' in sys.modules, 'numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(SRC)}, check=True
    )
    seconds, *loaded = done.stdout.split()
    assert loaded == ["False", "False"]
    # The bound is 0.2 s on an idle machine; this one may not be idle.
    assert float(seconds) < 2


def test_without_torch_the_sampled_solver_says_in_one_line_what_to_install(tmp_path):
    # A module that cannot be imported stands in for one that is not installed.
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/torch.py").write_text("raise ImportError('not installed')")
    done = ultragcn("train", "--solver", "sgd", cwd=tmp_path, PYTHONPATH=f"{tmp_path / 'hidden'}{os.pathsep}{SRC}")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "ultragcn: solver sgd needs PyTorch, which is not installed; in the repository, run: pip install '.[torch]'"
    ]
    # The default solver does without.
    done = ultragcn("train", *QUICK, cwd=tmp_path, PYTHONPATH=f"{tmp_path / 'hidden'}{os.pathsep}{SRC}")
    assert done.returncode == 0, done.stderr


def test_someone_new_is_recommended_items_by_what_they_have(tmp_path):
    assert ultragcn("train", *QUICK, "--out", "run", cwd=tmp_path).returncode == 0
    jazz = ["Quiet River (jazz)", "Velvet River (jazz)", "Amber Garden (jazz)"]
    done = ultragcn("recommend", "run", "--items", *jazz, "--top_k", "3", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == "rank\titem_id\tscore"
    assert len(lines) == 4
    assert not any(item in done.stdout for item in jazz)
    assert "unknown item id" in ultragcn("recommend", "run", "--items", "nosuch", cwd=tmp_path).stderr
