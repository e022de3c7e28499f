"""Reading, splitting, naming: right counts, or one sentence with file and line."""

import contextlib
import hashlib
import http.server
import io
import threading
import zipfile

import numpy as np
import pytest

from tests.conftest import interactions_of
from ultragcn import Interactions, load_dataset
from ultragcn.data import datasets, synthetic
from ultragcn.data.split import hold_out
from ultragcn.data.user_lines import read_user_lines
from ultragcn.errors import DataError, DataWarning, DownloadError, UsageError
from ultragcn.storage import hash_file


def files(tmp_path, train="0 0 1\n1 1 2\n", test="0 2\n1 0\n"):
    paths = tmp_path / "train.txt", tmp_path / "test.txt"
    for path, text in zip(paths, (train, test), strict=True):
        path.write_bytes(text.encode())
    return paths


def read_split(train, test):
    data = load_dataset(train, test=test, protocol="authors")
    return data.train, data.test


@pytest.mark.parametrize("newline", ["\n", "\r\n", " \n", "\t \r\n"])
def test_user_lines_are_read_whatever_ends_a_line(tmp_path, newline):
    train, test = read_split(*files(tmp_path, f"0 0 1{newline}1 1 2{newline}", f"0 2{newline}1 0"))
    assert train.matrix.toarray().tolist() == [[1, 1, 0], [0, 1, 1]]
    assert test.matrix.toarray().tolist() == [[0, 0, 1], [1, 0, 0]]


def test_ids_need_not_be_contiguous_and_keep_their_values(tmp_path):
    train, _ = read_split(*files(tmp_path, "70 900000000000\n3 5\n", "3 900000000000\n70 5\n"))
    assert train.user_ids.ids.tolist() == [3, 70]
    assert train.item_ids.ids.tolist() == [5, 900000000000]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("0 1\n1 x2\n", 2, "x2"), ("0 1\n1 -3\n", 2, "-3"), ("0 1.5\n", 1, "1.5"),
        ("0 1\n\n\n1 2 12345678901234567890\n", 4, "12345678901234567890"),
        ("0 1\n007 2\n", 2, "'007': a number that begins with 0"),
        ("0 1\r1 2\n", 1, "r"), ("0 1\n1 2\u00e9\n", 2, "2\u00e9"), ("user,item\n", 1, "user,item"), ("0 1\x00\n", 1, ""),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named(tmp_path, text, line, word):
    path, _ = files(tmp_path, text)
    with pytest.raises(DataError, match=rf"train.txt, line {line}: ") as caught:
        read_user_lines(path)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n\n", "  \n"])
def test_an_empty_file_is_refused(tmp_path, text):
    with pytest.raises(DataError, match="is empty"):
        read_user_lines(files(tmp_path, text)[0])


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_user_lines(tmp_path / "nothing.txt")


def test_repeated_items_are_counted_and_kept_once(tmp_path):
    with pytest.warns(DataWarning, match=r"train.txt, line 3: user 0 has item 1 twice; 2 such"):
        train, _ = read_split(*files(tmp_path, "0 0 1\n1 1 2\n0 1 0\n"))
    assert len(train) == 4


def test_test_items_seen_in_train_are_refused_with_their_line(tmp_path):
    with pytest.raises(DataError, match=r"test.txt, line 2: item 2 of user 1 is in train too"):
        read_split(*files(tmp_path, test="0 2\n1 2\n"))


def test_users_and_items_without_train_are_counted(tmp_path):
    with pytest.warns(DataWarning) as caught:
        read_split(*files(tmp_path, test="0 2\n1 0\n2 9\n"))
    messages = [str(warning.message) for warning in caught]
    assert any("1 user has no train items (first: user 2)" in message for message in messages)
    assert any("1 item has no train interaction (first: item 9)" in message for message in messages)


def test_a_user_line_without_items_is_a_user_without_items(tmp_path):
    with pytest.warns(DataWarning, match="1 user has no test items"):
        _, test = read_split(*files(tmp_path, test="0 2\n1\n"))
    assert test.user_degrees.tolist() == [1, 0]


@pytest.mark.parametrize("seed", [0, 1])
def test_hold_out_takes_a_tenth_at_least_one_and_leaves_small_users_alone(seed):
    degrees = [0, 1, 2, 3, 9, 10, 25, 40]
    dense = np.arange(40)[None, :] < np.array(degrees)[:, None]
    kept, held = hold_out(interactions_of(dense), seed)
    assert held.user_degrees.tolist() == [0, 0, 0, 1, 1, 1, 2, 4]
    assert (kept.user_degrees + held.user_degrees).tolist() == degrees
    assert kept.common(held).nnz == 0


def test_hold_out_depends_on_the_seed_alone():
    whole = interactions_of(np.ones((30, 30)))
    same, again, other = (hold_out(whole, seed)[1].hash for seed in (0, 0, 1))
    assert same == again != other


def test_ids_may_be_strings_and_unknown_ones_are_named():
    pairs = Interactions.from_pairs(["b", "a", "007"], ["x", "y", "x"])
    assert pairs.user_ids.ids.tolist() == ["007", "a", "b"]
    with pytest.raises(UsageError, match="unknown user id 'c'"):
        pairs.user_ids.rows(["a", "c"])
    with pytest.raises(UsageError, match="all integers or all strings"):
        Interactions.from_pairs(["a", 1], ["x", "y"])


def test_typed_ids_are_whole_numbers_as_they_are_written():
    numbers = Interactions.from_pairs([7, 70, -1], [1, 2, 3]).user_ids
    assert numbers.parse(["7", "-1"]) == [7, -1]
    for text in ("007", "+7", "7_0", " 7", "７", "7.0", ""):
        with pytest.raises(UsageError, match="unknown user id"):
            numbers.parse([text])


def test_demo_is_the_same_every_time_and_its_best_recall_is_that_of_the_truth():
    data, again = load_dataset("demo"), load_dataset("demo")
    assert data.hash == again.hash
    assert 0.5 < data.best_recall["recall@20"] < 0.65
    made = synthetic.make_demo()
    noisy = synthetic.Synthetic(
        made.train, made.test, made.probabilities * np.random.default_rng(0).uniform(0.2, 1, made.probabilities.shape)
    )
    assert synthetic.best_reachable_recall(noisy, 20) < data.best_recall["recall@20"]


def test_a_misspelt_data_set_gets_the_nearest_name_suggested():
    with pytest.raises(UsageError, match="did you mean gowalla"):
        load_dataset("gowala")


def test_other_data_under_a_known_name_are_refused(tmp_path):
    (tmp_path / "electronics").mkdir()
    files(tmp_path / "electronics")
    with pytest.raises(DataError, match="not the published electronics"):
        load_dataset("electronics", tmp_path)


@contextlib.contextmanager
def served(contents, tmp_path):
    """Yield the address of a server that has these files."""
    server = tmp_path / "server"
    server.mkdir()
    for file, content in contents.items():
        (server / file).write_bytes(content)
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=str(server))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}/"
        finally:
            httpd.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("file", "content"), [("train.txt", b"0 0 1\n1 1 2\n2 3 4 5\n"), ("train_data.json", b"[[0, 1], [1, 2], [3, 4, 5]]")]
)
def test_a_benchmark_is_downloaded_once_as_text_or_from_json_lists(tmp_path, monkeypatch, file, content):
    with served({file: content, "test.txt": b"0 2\n1 0\n2 0\n"}, tmp_path) as base:
        urls = {"train.txt": (base + "train.txt", base + "train_data.json"), "test.txt": (base + "test.txt",)}
        monkeypatch.setitem(datasets.SOURCES, "small", datasets.Source("small", "", 3, 6, 7, 3, urls))
        data = load_dataset("small", tmp_path / "data", protocol="authors")
        assert (len(data.train), len(data.test)) == (7, 3)
        assert sorted(path.name for path in (tmp_path / "data" / "small").iterdir()) == ["test.txt", "train.txt"]
    # The server is gone: the second time the files are used as they are, and a file that is missing is asked for by its own name.
    assert load_dataset("small", tmp_path / "data", protocol="authors").hash == data.hash
    missing = tmp_path / "data" / "small" / "train.txt"
    missing.unlink()
    with pytest.raises(DownloadError, match=rf"^cannot download train\.txt \(.* download the file by hand and put it at {missing}$"):
        load_dataset("small", tmp_path / "data", protocol="authors")


RATINGS = b"userId,movieId,rating\r\n" + b"".join(b"%d,%d,4.0\r\n" % (user, item) for user in (1, 2) for item in range(1, 6))
MOVIES = 'movieId,title\r\n1,"Am\u00e9lie, or so (2001)"\r\n2,Two\r\n3,Three\r\n4,Four\r\n5,Five\r\n'.encode()


def zipped(**files):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for name, content in files.items():
            opened.writestr(f"small/{name}.csv", content)
    return archive.getvalue()


def test_a_log_is_downloaded_once_out_of_its_zip_and_must_be_the_published_one(tmp_path, monkeypatch):
    digests = {"ratings.csv": hashlib.sha256(RATINGS).hexdigest(), "movies.csv": hashlib.sha256(MOVIES).hexdigest()}
    with served(
        {"small.zip": zipped(ratings=RATINGS, movies=MOVIES), "bad.zip": b"PK", "part.zip": zipped(ratings=RATINGS)}, tmp_path
    ) as base:

        def publish(archive):
            urls = dict.fromkeys(digests, (base + archive,))
            monkeypatch.setitem(datasets.SOURCES, "small", datasets.Source("small", "", 2, 5, 10, None, urls, digests))

        for archive in ("bad.zip", "part.zip"):
            publish(archive)
            with pytest.raises(DataError, match="is damaged or lacks"):
                load_dataset("small", tmp_path / archive)
        publish("small.zip")
        data = load_dataset("small", tmp_path / "data")
    assert data.item_titles.tolist()[:2] == ["Am\u00e9lie, or so (2001)", "Two"]
    home = tmp_path / "data" / "small"
    assert sorted(path.name for path in home.iterdir()) == ["movies.csv", "ratings.csv"]
    assert load_dataset("small", tmp_path / "data").hash == data.hash  # the server is gone
    (home / "ratings.csv").write_bytes(RATINGS + b"3,1,4.0\r\n")
    with pytest.raises(DataError, match=r"ratings.csv is not the published file"):
        load_dataset("small", tmp_path / "data")


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["electronics", "ml-1m", "gowalla", "amazoncds"])
def test_the_benchmarks_have_their_published_sizes_and_files(data_dir, name):
    source = datasets.SOURCES[name]
    data = load_dataset(name, data_dir, protocol="authors")
    assert (data.train.num_users, data.train.num_items) == (source.num_users, source.num_items)
    for file, digest in source.sha256.items():
        assert hash_file(data_dir / name / file) == digest
    # Ids are rows, so that published neighbours and embeddings line up.
    assert data.train.item_ids.ids.tolist() == list(range(source.num_items))
