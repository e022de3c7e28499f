"""Files of every kind: the right interactions, or one sentence with file and row."""

import csv
import gzip
import io
import re
import subprocess
import unicodedata
import warnings

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings

from ultragcn import Interactions, load_dataset
from ultragcn.data import times
from ultragcn.data.events import events_of, k_core
from ultragcn.data.log import read_log
from ultragcn.data.options import DATA_OPTIONS, DataOptions
from ultragcn.errors import DataError, DataWarning, UltraGCNError, UsageError

TEXT = "user,item,rating,time\nann,007,5,2020-01-01\nbob,7,3,1577836800\nann,7,1,2020/01/02 10:00\n"


def read(tmp_path, content, name="my.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_log(path, DataOptions().replace(**options))


def rows_of(log):
    return [(user, item) for user, item in zip(log.user_ids.ids[log.users].tolist(), log.item_ids.ids[log.items].tolist(), strict=True)]


EXPECTED = [("ann", "007"), ("bob", "7"), ("ann", "7")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TEXT), ("crlf.csv", TEXT.replace("\n", "\r\n")), ("bom.csv", "\ufeff" + TEXT), ("no_end.csv", TEXT.rstrip()),
        ("my[1]*.csv", TEXT), ("blank.csv", "\n\n" + TEXT.replace("bob", "\n\nbob") + "\n\n"), ("semicolon.csv", TEXT.replace(",", ";")),
        ("pipe.csv", TEXT.replace(",", "|")), ("tab.csv", TEXT.replace(",", "\t")), ("a.tsv", TEXT.replace(",", "\t")),
        ("colons.dat", TEXT.replace(",", "::")), ("crlf.dat", TEXT.replace(",", "::").replace("\n", "\r\n")),
        ("quotes.csv", '"user","item"\n"ann","007"\n"bob",7\nann,"7"\n'),
        ("order.csv", "ItemId,rating,User-ID\n007,5,ann\n7,3,bob\n7,1,ann\n"),
        ("a.inter", "user_id:token\titem_id:token\trating:float\nann\t007\t5\nbob\t7\t3\nann\t7\t1\n"),
        ("bom.dat", "\ufeff" + TEXT.replace(",", "::")),
        ("none.csv", TEXT.split("\n", 1)[1]), ("none.dat", TEXT.split("\n", 1)[1].replace(",", "::")),
        ("a.csv.gz", gzip.compress(TEXT.encode())), ("none.dat.gz", gzip.compress(TEXT.split("\n", 1)[1].replace(",", "::").encode())),
    ],
)  # fmt: skip
def test_text_files_of_every_kind_say_the_same(tmp_path, name, content):
    assert rows_of(read(tmp_path, content, name)) == EXPECTED


def test_zstd_and_parquet_say_the_same(tmp_path):
    frame = pl.read_csv(TEXT.encode(), infer_schema=False)
    frame.write_parquet(tmp_path / "a.parquet")
    assert rows_of(read_log(tmp_path / "a.parquet", DataOptions())) == EXPECTED
    (tmp_path / "a.csv").write_text(TEXT)
    if subprocess.run(["zstd", "-q", tmp_path / "a.csv"], check=False).returncode == 0:
        assert rows_of(read_log(tmp_path / "a.csv.zst", DataOptions())) == EXPECTED


def test_frames_of_polars_and_pandas_say_the_same():
    frame = pl.read_csv(TEXT.encode(), infer_schema=False)
    assert rows_of(read_log(frame, DataOptions())) == EXPECTED
    assert rows_of(read_log(frame.lazy(), DataOptions())) == EXPECTED
    pandas = pytest.importorskip("pandas")
    assert rows_of(read_log(pandas.DataFrame(frame.to_dict(as_series=False)), DataOptions())) == EXPECTED


def test_columns_of_pandas_keep_their_kinds():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({
        "user": pandas.Series([3, 1, 3], dtype="Int64"), "item": ["a", 7, "7"], "rating": [4.0, 5.0, 2.0],
        "time": pandas.to_datetime(["2020-01-02", "2020-01-01", "2020-01-03"]).tz_localize("UTC"),
    })  # fmt: skip
    log = read_log(frame, DataOptions(split="time", min_rating=3))
    assert rows_of(log) == [(3, "a"), (1, "7")]
    assert [times.shown(when) for when in log.times] == ["2020-01-02 00:00:00", "2020-01-01 00:00:00"]
    frame.loc[1, "user"] = pandas.NA
    with pytest.raises(DataError, match="the frame, row 2: no user id in column user"):
        read_log(frame, DataOptions())


def test_a_matrix_has_its_numbers_as_ids_and_its_values_as_ratings():
    matrix = sp.csr_matrix(np.array([[0, 5, 1], [2, 0, 4]]))
    assert rows_of(read_log(matrix, DataOptions())) == [(0, 1), (0, 2), (1, 0), (1, 2)]
    assert rows_of(read_log(matrix, DataOptions(min_rating=4))) == [(0, 1), (1, 2)]
    # Rows and columns without entries are users and items all the same.
    assert Interactions.from_frame(sp.csr_matrix(np.eye(3, 5, 1))).matrix.shape == (3, 5)
    with pytest.raises(UsageError, match="a matrix has none"):
        read_log(matrix, DataOptions(split="last"))


def test_ratings_of_single_precision_reach_what_they_are_rated(tmp_path):
    frame = pl.DataFrame({"user": [1, 2, 3], "item": [1, 2, 3], "rating": pl.Series([4.2, 4.1, 4.2], dtype=pl.Float32)})
    frame.write_parquet(tmp_path / "log.parquet")
    single, double = (sp.csr_matrix(np.diag(np.array([4.2, 4.1, 4.2], kind))) for kind in (np.float32, np.float64))
    for source in (frame, tmp_path / "log.parquet", single, double):
        assert len(read_log(source, DataOptions(min_rating=4.2)).users) == 2


def test_where_columns_have_kinds_the_kind_decides(tmp_path):
    frame = pl.DataFrame({"user": ["1", "2"], "item": ["10", "20"]})
    frame.write_parquet(tmp_path / "log.parquet")
    pandas = pytest.importorskip("pandas")
    for source in (frame, pandas.DataFrame(frame.to_dict(as_series=False)), tmp_path / "log.parquet"):
        assert rows_of(read_log(source, DataOptions())) == [("1", "10"), ("2", "20")]
    large = frame.with_columns(user=pl.Series([2**63 + 1, 3], dtype=pl.UInt64))
    with pytest.raises(DataError, match="row 1: the user id 9223372036854775809 does not fit 64 bits"):
        read_log(large, DataOptions())
    mixed = pandas.DataFrame({"user": pandas.Series([1, 2.0, 2], dtype=object), "item": [1, 2, 3]})
    with pytest.raises(DataError, match="ids must be integers or strings, and those in the column are Float64"):
        read_log(mixed, DataOptions())


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([20200131, 20210201], ["2020-01-31 00:00:00", "2021-02-01 00:00:00"]),
        (["20200131", "2021-02-01"], ["2020-01-31 00:00:00", "2021-02-01 00:00:00"]),
        ([20200131, 20210299], ["1970-08-22 19:08:51", "1970-08-22 21:58:19"]),  # not all are dates: seconds, as any numbers
    ],
)
def test_dates_without_dashes_are_dates_where_all_numbers_are(given, shown):
    log = read_log(pl.DataFrame({"user": [1, 2], "item": [1, 2], "time": given}), DataOptions(split="time"))
    assert [times.shown(when) for when in log.times] == shown


def test_user_lines_are_read_also_from_gzip_and_after_a_byte_order_mark(tmp_path):
    for name, content in (
        ("a.txt", b"3 1 2\n4 1\n"),
        ("b.txt", b"\xef\xbb\xbf3 1 2\n4 1"),
        ("train.txt.gz", gzip.compress(b"3\t1\t2\n4 1\n")),
    ):
        assert rows_of(read(tmp_path, content, name)) == [(3, 1), (3, 2), (4, 1)]
    with pytest.raises(DataError, match=r"cannot read .*train.txt.gz"):
        read(tmp_path, gzip.compress(b"3 1 2\n" * 99)[:30], "train.txt.gz")


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        (["1", "20", "3"], [1, 20, 3]), (["007", "7", "8"], ["007", "7", "8"]), (["1", "x", "2"], ["1", "x", "2"]),
        (["+1", "2", "3"], ["+1", "2", "3"]), (["-1", "0", "9223372036854775807"], [-1, 0, 9223372036854775807]),
        (["9223372036854775808", "2", "3"], ["9223372036854775808", "2", "3"]), (["1.0", "2", "3"], ["1.0", "2", "3"]),
        (["1e3", "2", "3"], ["1e3", "2", "3"]), ([" a", "a", "b "], [" a", "a", "b "]), (["NA", "nan", "null"], ["NA", "nan", "null"]),
        (["Zoë", "이수", "\U0001f600"], ["Zoë", "이수", "\U0001f600"]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*differ only by blanks")
def test_ids_are_kept_exactly(tmp_path, ids, kept):
    log = read(tmp_path, "user,item\n" + "".join(f"{one},i\n" for one in ids))
    assert log.user_ids.ids[log.users].tolist() == kept


def test_quoted_cells_hold_separators_quotes_and_line_ends(tmp_path):
    log = read(tmp_path, 'user,item\n"a, ""b""",1\r\n"two\r\nlines",2\nc,x\n')
    assert rows_of(log) == [('a, "b"', "1"), ("two\r\nlines", "2"), ("c", "x")]
    assert log.rows.tolist() == [2, 3, 4]


def test_columns_are_given_by_name_or_number(tmp_path):
    text = "who,what,when\na,x,1\nb,y,2\n"
    for options in ({"user_column": "who", "item_column": "what"}, {"user_column": 1, "item_column": "2", "header": "yes"}):
        assert rows_of(read(tmp_path, text, **options)) == [("a", "x"), ("b", "y")]
    assert rows_of(read(tmp_path, "1,a,x\n2,b,y\n", user_column=2, item_column=3)) == [("a", "x"), ("b", "y")]
    with pytest.raises(DataError, match="which of the columns who, what, when holds the users and which the items; give user_column"):
        read(tmp_path, text)
    with pytest.raises(DataError, match="has no column 'whom'; give one of who, what, when, or a number from 1 to 3"):
        read(tmp_path, text, user_column="whom", header="yes")
    with pytest.raises(DataError, match="cannot hold both"):
        read(tmp_path, text, user_column="who", item_column="who")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_columns_are_found_by_korean_names(tmp_path, form):
    text = unicodedata.normalize(form, "주문일시,상품 코드,회원번호,별점\n2024-03-01,007,김,4\n2024-03-02,8,이,2\n")
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    log = read_log(tmp_path / "a.csv", DataOptions(min_rating=3, split="time"))
    assert rows_of(log) == [(unicodedata.normalize(form, "김"), "007")]
    assert times.shown(log.times[0]) == "2024-03-01 00:00:00"


def test_a_header_can_be_stated(tmp_path):
    text = "user,item\na,x\n"
    assert len(read(tmp_path, text, header="no").users) == 2
    assert len(read(tmp_path, "anna,x\nb,y\n", header="yes", user_column="1", item_column=2).users) == 1


@pytest.mark.parametrize(
    ("name", "content", "options", "says"),
    [
        ("a.csv", "user,item\na,x\n,y\n", {}, "row 3: no user id in column user"),
        ("a.csv", 'user,item\na,x\n\nb,""\n', {}, "row 4: no item id in column item"),
        ("a.csv", "user,item\na,x\nb\n", {}, "row 3: no item id"),
        ("a.csv", "user,item,rating\na,x,3\nb,y,good\n", {"min_rating": 1}, "cannot read the rating 'good' in column rating; expected a n"),
        ("a.csv", "user,item,rating\na,x,3\nb,y,\n", {"min_rating": 1}, "row 3: cannot read the rating ''"),
        ("a.csv", "user,item,rating\na,x,3\nb,y,nan\n", {"min_rating": 1}, "row 3: cannot read the rating 'nan'"),
        ("a.csv", "user,item,time\na,x,2020-01-01\nb,y,01/02/2020\n", {"split": "time"}, "row 3: cannot read the time '01/02/2020'"),
        ("a.csv", "user,item\na,x\nb,y,z\n", {}, "row 3: 3 cells, where the first row has 2"),
        ("a.dat", "a::x\nb::y::z\n", {}, "row 2: 3 cells, where the first row has 2"),
        ("a.csv", 'user,item\na,x\nb"b,y\n', {}, "row 3: 'b\"b,y' has a quote inside a cell"),
        ("a.csv", 'user,item\na,x\n"b"b,y\n', {}, "row 3: '\"b\"b,y' has a quote inside a cell"),
        ("a.csv", 'user,item\na,x\n"b,y\nc,z\n', {}, "row 3: a quote is opened and never closed"),
        ("a.csv", b"user,item\na,x\n\xff,y\n", {}, "row 3: '\ufffd,y' is not UTF-8"),
        ("a.csv", b"\x01\x02\x03\0" * 9 + b"\n", {}, "it is not text in UTF-8"),
        ("a.csv", "", {}, "is empty"), ("a.csv", " \n\n", {}, "is empty"), ("a.csv", "user,item\n", {}, "has no interactions; give data"),
        ("a.csv", "user\na\n", {}, "has a single column"), ("a.csv", "a,b\rc,d\r", {}, "carriage return"),
        ("a.csv.gz", b"user,item\n"[:3] + b"\x1f\x8b", {}, "a.csv.gz"),
        ("a.csv.gz", gzip.compress(TEXT.encode() * 99)[:90], {}, "cut short; fetch or copy it again"),
        ("a.parquet", "PAR1", {}, "cannot read"), ("a.csv", "a,b\n1,2\n", {}, "it is not clear which of the columns a, b holds the users"),
        ("a.csv", TEXT, {"min_rating": 9}, "has no interactions rated 9 or higher; lower min_rating"),
        ("a.csv", "user,item\na,x\n", {"split": "last"}, "holds the times; give time_column (--time_column), or header=no (--header no)"),
        ("a.csv", "a,x,3\n", {"split": "last"}, "holds the times; give time_column"),
        ("a.txt", "0 1 2\n", {"split": "time"}, "items; drop split time, or"),
        ("a.txt", "0 1 2\n", {"min_rating": 2}, "items; drop min_rating, or"),
        ("a.csv", TEXT, {"separator": ";"}, "with separator ';'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence_with_its_row(tmp_path, name, content, options, says):
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        read(tmp_path, content, name, **options)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "user,item,time\na,x,1\n\nb,y\nc,z,\n", "row 4: fewer cells than the 3 of the first row; it was kept"),
        ("a.csv", 'user,item,a,b\r\n"b,b","y"\r\na,"x,y,z",1\r\nc,"z""",,\r\n', "row 2: fewer cells than the 4 of the first row; 2 such"),
        ("a.dat", "a::x::1::2\nb::y::1\nc::z::::\n", "row 2: fewer cells than the 4 of the first row; it was kept"),
        ("a.csv.gz", gzip.compress(b"user,item,,\na,x,1,2\nb,y,1,2\nc,z"), "row 4: fewer cells than the 4 of the first row; it was kept"),
    ],
)  # fmt: skip
def test_rows_with_too_few_cells_are_kept_and_counted_where_nothing_that_is_read_is_missing(tmp_path, name, content, says):
    with pytest.warns(DataWarning, match=re.escape(says)) as caught:
        log = read(tmp_path, content, name)
    assert len(caught) == 1
    assert len(log.users) == 3


@pytest.mark.parametrize(
    "content",
    ["user,item,time\na,x,1\nb,y,\n", "\n  \nuser,item,time\n\na,x,\n\nb,y,\n", 'user,item,time\na,"x\ny",\nb,y,1\n'],
)
def test_an_empty_last_cell_is_not_a_missing_one(tmp_path, content):
    assert len(read(tmp_path, content).users) == 2


def test_ids_of_other_kinds_are_refused():
    with pytest.raises(DataError, match=r"user ids must be integers or strings, and those in the column are Float64 .*a missing id"):
        read_log(pl.DataFrame({"user": [1.0], "item": [2]}), DataOptions())
    with pytest.raises(DataError, match="item ids must be integers or strings, and those in the column are Boolean; convert"):
        read_log(pl.DataFrame({"user": [1], "item": [True]}), DataOptions())
    with pytest.raises(UsageError, match="cannot read interactions from dict"):
        read_log({"user": [1]}, DataOptions())


@pytest.mark.parametrize(
    "text",
    [
        "1577934245", "1577934245000", "1577934245.0", "2020-01-02T03:04:05Z", "2020-01-02 03:04:05", "2020/1/2 03:04:05",
        "02.01.2020 03:04:05",
        "2020-01-02T05:04:05+02:00", "2020-01-01T22:04:05.000-0500", "2020-01-02 03:04:05 UTC", "2020-01-02 05:04:05+02",
        "1577934245000000000",
    ],
)  # fmt: skip
def test_times_are_read_however_they_are_written(text):
    assert times.shown(times.parse(text)) == "2020-01-02 03:04:05"


@pytest.mark.parametrize("text", ["", "nan", "soon", "01/02/2020", "2020-02-30", "2020-01-02T25:00", "Jan 2 2020"])
def test_times_that_could_mean_anything_are_not_read(text):
    assert times.parse(text) is None


def test_mixed_times_stand_in_one_column(tmp_path):
    text = "user,item,time\na,1,2020-01-02\na,2,1577836800\na,3,2020-01-01T12:00:00+01:00\na,4,1577923200000\n"
    log = read(tmp_path, text, split="time")
    assert [times.shown(when)[5:13] for when in log.times] == ["01-02 00", "01-01 00", "01-01 11", "01-02 00"]


@pytest.mark.parametrize(
    ("options", "which", "expected"),
    [({"split": "time"}, "first", [5, 7]), ({"split": "last"}, "first", [5, 7]), ({"time_column": "time"}, "latest", [9, 7])],
)
def test_repetitions_are_counted_once_at_the_first_time_where_splits_go_by_time(tmp_path, options, which, expected):
    text = "user,item,time\na,x,5\nb,x,7\na,x,9\na,x,6\n"
    log = read(tmp_path, text, **options)
    message = rf"my.csv, row 4: user 'a' has item 'x' twice; 2 such repetitions were counted once, at its {which} time"
    with pytest.warns(DataWarning, match=message):
        events = events_of(log)
    assert (events.times / 1e6).tolist() == expected


@pytest.mark.parametrize("options", [{"split": "time", "test_from": "1970-01-01 00:00:05"}, {"split": "last"}])
def test_what_a_user_used_before_the_cut_is_never_held_out(tmp_path, options):
    path = tmp_path / "log.csv"
    path.write_text("user,item,time\na,x,1\na,y,2\na,z,6\na,x,7\nb,x,1\nb,z,2\nb,y,8\nb,x,9\n")
    with pytest.warns(DataWarning, match="at its first time"):
        data = load_dataset(path, protocol="authors", **options)
    held = {user: data.test.item_ids.ids[data.test.items_of(data.test.user_ids.rows([user])[0])].tolist() for user in ("a", "b")}
    assert held == {"a": ["z"], "b": ["y"]}


def test_min_rating_keeps_what_is_rated_so_or_higher(tmp_path):
    log = read(tmp_path, TEXT, min_rating=3)
    assert rows_of(log) == EXPECTED[:2]
    assert "2 of 3 rows rated 3 or higher" in log.about


def test_the_k_core_drops_again_and_again_until_all_have_k():
    # d hangs on z alone, and z on d: with y's second user gone, everything but the square a, b x w, x falls.
    users = [*"aabbcdc"]
    items = [*"wxwxyzz"]
    events = events_of(read_log(pl.DataFrame({"user": users, "item": items}), DataOptions()))
    core = k_core(events, 2).interactions
    assert (core.user_ids.ids.tolist(), core.item_ids.ids.tolist(), len(core)) == (["a", "b"], ["w", "x"], 4)
    with pytest.raises(DataError, match="3-core is empty"):
        k_core(events, 3)


def test_interactions_come_from_a_frame_in_one_call():
    frame = pl.DataFrame({"customer": ["b", "a", "a"], "product": [3, 3, 4], "score": [1, 5, 5]})
    pairs = Interactions.from_frame(frame, min_rating=2)
    assert (pairs.user_ids.ids.tolist(), pairs.item_ids.ids.tolist()) == (["a"], [3, 4])
    with pytest.raises(UsageError, match="unknown data option 'min_ratin'; did you mean min_rating"):
        Interactions.from_frame(frame, min_ratin=2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"k_core": 0}, "k_core must be a whole number of 1 or more"), ({"split": "tim"}, "did you mean time"),
        ({"test_share": 1}, "test_share must be a number above 0, 0.9 at most"), ({"last_k": 2}, "last_k needs split last"),
        ({"test_from": "2020-01-01"}, "test_from needs split time"),
        ({"split": "time", "test_from": "2020-01-01", "test_share": 0.1}, "test_from and test_share both say where test begins"),
        ({"header": True}, "header must be text"),
    ],
)  # fmt: skip
def test_options_are_checked_and_contradictions_refused(options, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        DataOptions(**options)


def test_none_stands_for_the_default_of_every_option():
    assert DataOptions(**dict.fromkeys(DATA_OPTIONS)) == DataOptions()
    assert DataOptions(min_rating="4", k_core="2").changed() == {"min_rating": 4.0, "k_core": 2}


# ---------------------------------------------------------------------- fuzz

CELLS = st.one_of(
    st.integers(-3, 99).map(str),
    st.sampled_from(
        ["007", "a", "b", "x y", "Zoë", "이수", 'say "hi"', "semi;colon", "com,ma", "two\nlines", "tab\tbed", "'", "::", "#", "NA"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\0\ufffd\ufeff\x01"), min_size=1, max_size=5),
)
TABLES = st.lists(st.tuples(CELLS, CELLS, st.sampled_from(["1", "2.5", "5", "-1", "1e1"])), min_size=1, max_size=12)
FUZZ = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


def slow_parse(data: bytes, delimiter: str) -> list[tuple[int, list[str]]]:
    """The rows of a file and their numbers from 1, by Python's own csv module."""
    rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True)
    return [(number, row) for number, row in enumerate(rows, start=1) if row]


@settings(FUZZ, max_examples=900)
@given(
    table=TABLES, delimiter=st.sampled_from(",;\t|"), newline=st.sampled_from(["\n", "\r\n"]), header=st.booleans(), bom=st.booleans(),
    zipped=st.booleans(), quote_all=st.booleans(), threshold=st.sampled_from([None, 2.0]),
)  # fmt: skip
def test_what_python_writes_is_read_to_the_last_cell(
    tmp_path_factory, table, delimiter, newline, header, bom, zipped, quote_all, threshold
):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=newline, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    writer.writerows([("user_id", "item_id", "rating")] if header else [])
    writer.writerows(table)
    content = (b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode()
    path = tmp_path_factory.getbasetemp() / f"fuzz.csv{'.gz' if zipped else ''}"
    path.write_bytes(gzip.compress(content) if zipped else content)
    options = DataOptions(header="auto" if header else "no", separator=delimiter, min_rating=threshold, blanks="keep")
    expected = [
        (number, row[0], row[1])
        for number, row in slow_parse(content, delimiter)[header:]
        if threshold is None or float(row[2]) >= threshold
    ]
    if not expected:
        with pytest.raises(DataError, match="has no interactions"):
            read_log(path, options)
        return
    log = read_log(path, options)
    found = [(row, str(user), str(item)) for row, (user, item) in zip(log.rows.tolist(), rows_of(log), strict=True)]
    assert found == expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        assert len(events_of(log).interactions) == len({(user, item) for _, user, item in expected})


def read_or_refuse(path, options):
    """The log of a file, or None when it is refused as it should be."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "(?s).*(fewer cells|have this fault, so it was ignored|differ only by|header is repeated)", DataWarning
            )
            return read_log(path, options)
    except UltraGCNError as error:
        message = str(error)
    assert "\n" not in message
    assert path.name in message
    return None


PIECES = st.sampled_from([
    "a", "b", "1", "2", "007", ",", ",", ",", "\n", "\n", "\r\n", '"', '""', ";", "\t", "::", " ", "user", "item", "rating",
    "é", "\ufeff", "-", ".",
])  # fmt: skip


@settings(FUZZ, max_examples=1300)
@given(
    pieces=st.lists(PIECES, max_size=40), suffix=st.sampled_from(["csv", "tsv", "dat", "inter", "txt", "csv.gz"]), cut=st.integers(0, 60),
    header=st.sampled_from(["auto", "yes", "no"]), split=st.sampled_from(["random", "time"]), rated=st.booleans(),
)  # fmt: skip
def test_any_file_is_read_rightly_or_refused_in_one_sentence(tmp_path_factory, pieces, suffix, cut, header, split, rated):
    content = "".join(pieces).encode()
    content = content[:cut] if cut < 20 else content  # also in the middle of a letter
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    separator = "," if "csv" in suffix else None
    log = read_or_refuse(path, DataOptions(header=header, split=split, min_rating=0 if rated else None, separator=separator))
    if log is None or separator is None or rated:
        return
    try:
        rows = slow_parse(content, ",")
    except csv.Error:
        return  # what is wrong stands in columns that are not read
    assert log.rows.tolist() in ([number for number, _ in rows], [number for number, _ in rows[1:]])
    assert len(log.users) == len(rows) - (log.rows[0] != rows[0][0])


@settings(FUZZ, max_examples=300)
@given(content=st.binary(max_size=200), suffix=st.sampled_from(["csv", "csv.gz", "csv.zst", "parquet", "dat", "txt", "inter"]))
def test_bytes_that_mean_nothing_are_refused_in_one_sentence(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"bytes.{suffix}"
    path.write_bytes(content)
    read_or_refuse(path, DataOptions())
