"""What the library says of a log: what is cut off, what is not read, which column was meant, and what `where` compares."""

import collections
import re
import warnings

import numpy as np
import polars as pl
import pytest

from ultragcn import Interactions, Popularity, evaluate, load_dataset, read_interactions
from ultragcn.cli import main
from ultragcn.data.columns import find
from ultragcn.data.comparisons import mismatches
from ultragcn.data.ids import IdMap
from ultragcn.data.items_table import ItemsTable
from ultragcn.data.log import read_log
from ultragcn.data.options import DataOptions
from ultragcn.data.prose import is_prose
from ultragcn.data.tables import open_table
from ultragcn.errors import DataError, DataWarning, UsageError

NUM_ROWS = 300
EVENTS = ("view", "view", "view", "cart", "purchase")


def rows(*columns, separator=",", header="", num_rows=NUM_ROWS):
    """Lines of a table: users who come again with items that come again, and more columns, each a function of the row."""
    random = np.random.default_rng(0)
    users, items = random.integers(0, 40, num_rows), random.integers(0, 30, num_rows)
    lines = [header] if header else []
    for row in range(num_rows):
        cells = (f"u{users[row]}", f"i{items[row]}", *(column(row, int(users[row]), int(items[row])) for column in columns))
        lines.append(separator.join(map(str, cells)))
    return "\n".join(lines) + "\n"


def date(row, user, item):
    return f"2025-0{1 + row % 9}-1{row % 7}"


def stars(row, user, item):
    return 1 + row * 7 % 5


def event(row, user, item):
    return EVENTS[row * 3 % 5]


def price(row, user, item):
    return f"{item},99"


def log_of(place, text, name="log.csv", **options):
    (place / name).write_text(text)
    return read_log(place / name, DataOptions().replace(**options))


def refusal(place, text, name="log.csv", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        with pytest.raises((DataError, UsageError)) as caught:
            log_of(place, text, name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------ a file that is cut short


@pytest.mark.parametrize("separator", ["\t", ",", "::", " "])
def test_a_row_that_is_cut_off_is_said_though_where_leaves_it_out(tmp_path, separator):
    text = rows(event, date, separator=separator, header=separator.join(("user", "item", "event", "date")))
    cut = text + separator.join(("u1", "i1", "vi"))
    with pytest.warns(DataWarning, match=r"row 302: the last row has 3 of 4 cells; is the file cut short\?$"):
        log = log_of(tmp_path, cut, "log.txt", where="event = 'purchase'")
    assert len(log.users) == 60
    with pytest.warns(DataWarning, match=r"row 302: the last row has 3 of 4 cells; is the file cut short\? It was kept, because only"):
        assert len(log_of(tmp_path, cut, "log.txt").users) == NUM_ROWS + 1


def test_several_short_rows_are_counted_before_where_and_the_last_is_named(tmp_path):
    text = rows(event, date, header="user,item,event,date") + "u1,i1,view\nu2,i2,purchase,2025-01-01\nu3,i3,cart\n"
    with pytest.warns(
        DataWarning, match=r"row 302: fewer cells than the 4 of the first row; there are 2 such rows; the last row has 3 of 4"
    ):
        log_of(tmp_path, text, where="event = 'purchase'")
    whole = text.removesuffix("u3,i3,cart\n")
    with pytest.warns(
        DataWarning, match=r"row 302: fewer cells than .*; it was kept, because .* lack cells; check that the file is whole$"
    ):
        log_of(tmp_path, whole)


def test_a_last_row_without_an_item_or_a_rating_asks_whether_the_file_is_cut_short(tmp_path):
    text = rows(stars, date, header="user,item,rating,date")
    found = refusal(tmp_path, text + "u1")
    assert "row 302: the last row has 1 of 4 cells; is the file cut short? The row has no item id in column item; " in found
    assert "--missing skip" in found
    found = refusal(tmp_path, text + "u1,i1", min_rating=4)
    assert "row 302: the last row has 2 of 4 cells; is the file cut short? The row has no rating in column rating" in found
    # In the middle of a file nothing is cut off.
    assert "cut short" not in refusal(tmp_path, text + "u1\nu2,i2,5,2025-01-01\n")


# ------------------------------------------------------------------ decimal commas, and text beside numbers


@pytest.mark.parametrize("decimal", ["", ","])
@pytest.mark.parametrize("condition", ["Preis < 20", "Preis < 20.0", "Preis <= 19.99", "NOT Preis >= 20", "Preis BETWEEN 0 AND 20.0"])
def test_where_reads_numbers_with_a_decimal_comma(tmp_path, condition, decimal):
    text = rows(price, separator=";", header="Kunde;Artikel;Preis")
    log = log_of(tmp_path, text, where=condition, decimal=decimal)
    assert {int(item[1:]) for item in log.item_ids.ids} == set(range(20))
    assert f"300 rows, of which where {condition} keeps {len(log.users)}" in log.about


def test_in_a_file_with_commas_between_cells_quoted_numbers_have_decimal_commas(tmp_path):
    text = rows(lambda *one: f'"1.{price(*one):0>6}"', header="user,item,price")
    log = log_of(tmp_path, text, where="price < 1020")
    assert {int(item[1:]) for item in log.item_ids.ids} == set(range(20))


@pytest.mark.parametrize(
    ("cell", "condition", "says"),
    [
        (lambda r, u, i: f"{i},99 EUR", "Preis < 20.0", "Preis with a number, and .* holds text such as '3,99 EUR' in row 2; write"),
        (lambda r, u, i: f"{i},99 EUR", "Preis IN (1, 2)", "column Preis with a number, and the column holds text"),
        (lambda r, u, i: f"{i + 1},500", "Preis < 20", "text such as '4,500' in row 2; if a comma stands before .*give --decimal \",\""),
        (price, "Preis = '20'", "column Preis, which holds numbers such as 3,99, with the text '20'; write 20 without quotes"),
        (price, "Preis < '20,5'", "with the text '20,5'; write 20.5 without quotes"),
        (lambda r, u, i: i, "Preis < '20'", "with the text '20'; write 20 without quotes"),
        (lambda r, u, i: f"{1 + i:02d}.01.2025 00:36", "Preis < '01.02.2025'", "dates with the day first, such as .* letter by letter; "),
        (lambda r, u, i: f"{i}.5" if r % 2 else f"{i},5", "Preis > '20'", "compares numbers, such as .* letter by letter"),
        (price, "Artikel < 3 AND Preis < 20", "column Artikel with a number, and the column holds text such as"),
    ],
)  # fmt: skip
def test_text_is_never_compared_with_a_number(tmp_path, cell, condition, says):
    message = refusal(tmp_path, rows(cell, separator=";", header="Kunde;Artikel;Preis"), where=condition)
    assert re.search(says, message), message


@pytest.mark.parametrize(
    ("cell", "condition"),
    [
        (lambda r, u, i: f"2025-01-{1 + i:02d}", "Preis < '2025-01-09'"), (lambda r, u, i: f"{i:03d}x", "Preis < '010x'"),
        (price, "Preis LIKE '1%'"), (lambda r, u, i: "abc"[r % 3], "Preis < 'b'"),
    ],
)  # fmt: skip
def test_texts_whose_letters_are_in_order_may_be_compared(tmp_path, cell, condition):
    assert 0 < len(log_of(tmp_path, rows(cell, separator=";", header="Kunde;Artikel;Preis"), where=condition).users) < NUM_ROWS


def test_decimal_says_what_a_column_of_thousands_or_thousandths_is(tmp_path):
    text = rows(lambda r, u, i: f"{i + 1},500", separator=";", header="Kunde;Artikel;Preis")
    assert len(log_of(tmp_path, text, where="Preis < 20", decimal=",").item_ids) == 19
    assert "the column holds text such as" in refusal(tmp_path, text, where="Preis < 20", decimal=".")


def test_whole_numbers_may_still_be_asked_for_as_text(tmp_path):
    text = rows(lambda r, u, i: i % 5, header="user,item,code")
    assert len(log_of(tmp_path, text, where="code = '2'").users) == len(log_of(tmp_path, text, where="code = 2").users) > 0
    assert "compares column code with a number" in refusal(tmp_path, text, where="code = '2' OR code > 3")


@pytest.mark.parametrize(
    ("condition", "columns"),
    [
        ("text < 20.0", ["text"]), ("text * 2 < 3", ["text"]), ("CASE WHEN text < 3 THEN true ELSE false END", ["text"]),
        ("number = '20'", ["number"]), ("lower(text) = 3", ["text"]), ("text < number", ["text"]),
        ("left(text, 3) = 'abc'", []), ("length(text) < 3", []), ("text LIKE '2%'", []), ("text || 'x' = 'ax'", []),
        ("day < '2025-01-01'", []), ("number < 3 AND text = 'x'", []), ("CAST(text AS DOUBLE) < 3", []), ("text IS NULL", []),
    ],
)  # fmt: skip
def test_every_comparison_of_text_with_numbers_is_found_and_no_other(condition, columns):
    kinds = {"text": pl.String, "number": pl.Int64, "day": pl.Date}
    assert [wrong.column for wrong in mismatches(pl.sql_expr(condition), kinds)] == columns


def test_an_items_table_reads_numbers_with_a_decimal_comma(tmp_path):
    ids = IdMap.of(["a", "b", "c"], "item")
    (tmp_path / "items.csv").write_text("Artikel;Preis;Code\na;35,99;007\nb;9,5;008\nc;1.299,00;009\n")
    table = ItemsTable.of(tmp_path / "items.csv", ids)
    assert table.holds("Preis < 20").tolist() == table.holds("Preis < 20.0").tolist() == [False, True, False]
    assert table.holds("Preis > 1000").tolist() == [False, False, True]
    with pytest.raises(UsageError, match=r"column Preis, which holds numbers such as 35.99, with the text '20'; write 20 without quotes"):
        table.holds("Preis = '20'")
    with pytest.raises(UsageError, match=r"column Code with a number, and the column holds text such as '007' in the items table"):
        table.holds("Code < 9")


def test_decimal_reaches_the_items_table_of_a_file_and_of_a_frame(tmp_path):
    ids = IdMap.of(["a", "b"], "item")
    (tmp_path / "items.csv").write_text("item;price\na;1,500\nb;30,000\n")
    for source in (tmp_path / "items.csv", pl.DataFrame({"item": ["a", "b"], "price": ["1,500", "30,000"]})):
        with pytest.raises(UsageError, match=r"the column holds text such as '1,500' .*give --decimal \",\" \(decimal=','\)"):
            ItemsTable.of(source, ids).holds("price < 20.0")
        assert ItemsTable.of(source, ids, DataOptions(decimal=",")).holds("price < 20").tolist() == [True, False]


def test_recommend_takes_the_decimal_of_another_items_table(tmp_path, capsys):
    (tmp_path / "log.csv").write_text(rows(header="user,item"))
    (tmp_path / "items.csv").write_text("item;price\n" + "".join(f"i{item};{item + 1},500\n" for item in range(30)))
    run = str(tmp_path / "run")
    assert main(["train", "--model", "popularity", "--dataset", str(tmp_path / "log.csv"), "--out", run, "--quiet"]) == 0
    words = ["recommend", run, "--users", "u1", "--include_seen", "--top_k", "30", "--where", "price < 11"]
    assert main([*words, "--items_table", str(tmp_path / "items.csv")]) == 2
    assert '--decimal ","' in capsys.readouterr().err
    assert main([*words, "--items_table", str(tmp_path / "items.csv"), "--decimal", ","]) == 0
    listed = [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert sorted(listed) == sorted(f"i{item}" for item in range(10))
    assert main([*words, "--decimal", ","]) == 2
    assert "--decimal says how an items table is written; give the table too" in capsys.readouterr().err


def test_items_with_several_rows_are_counted_and_the_first_counts(tmp_path):
    ids = IdMap.of(["a", "b", "c"], "item")
    frame = pl.DataFrame({"item": ["a", "b", "b", "x", "x", "c", "c", "c"], "price": [1, 2, 20, 0, 0, 3, 30, 31]})
    with pytest.warns(DataWarning, match=r"^the frame: 2 items have several rows, of which the first counts \(first: item b\)$"):
        table = ItemsTable.of(frame, ids)
    assert table.kept["price"].to_list() == [1, 2, 3]


# ------------------------------------------------------------------ what is not read


TIMES = "column {} has times and is not read; training with --split time or last uses it"


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("day", date), ("Datum", lambda r, u, i: f"{1 + r % 28:02d}.01.2025 00:36"),
        ("played_at", lambda r, u, i: f"2025-01-0{1 + r % 9}T00:36:00Z"),
        ("ts", lambda r, u, i: 1_735_691_760 + 1000 * r), ("whatever", date), ("구매일", date),
        ("date", lambda r, u, i: f"{1 + r % 12}/13/2025"),
    ],
)  # fmt: skip
def test_times_that_are_not_read_are_named(tmp_path, name, cell):
    text = rows(lambda r, u, i: 5, cell, header=f"user,item,n,{name}")
    assert f"; {TIMES.format(name)}; " in log_of(tmp_path, text).about
    if name != "date" and name != "whatever":
        assert "has times" not in log_of(tmp_path, text, split="time").about
    assert "has times" not in log_of(tmp_path, text, split="none").about


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("price", lambda r, u, i: f"{r % 37}.99"), ("session", lambda r, u, i: f"{u:03d}-{r:03d}"),
        ("ms", lambda r, u, i: 60_000 * (1 + r % 5)),
        ("birth_date", lambda r, u, i: f"19{50 + u}-01-0{1 + u % 9}"), ("release_date", lambda r, u, i: f"20{i + 10}-01-01"),
        ("time", lambda r, u, i: f"{r % 24}:00"), ("quantity", lambda r, u, i: 1 + r % 4), ("order_id", lambda r, u, i: r // 2),
        ("version", lambda r, u, i: f"1.{r % 3}.0"), ("rating_count", lambda r, u, i: r % 90),
        ("country", lambda r, u, i: ("KR", "DE")[r % 2]),
        ("genre", lambda r, u, i: ("jazz", "folk")[i % 2]), ("note", lambda r, u, i: f"nice {r}"), ("score", lambda r, u, i: f"1.{r % 97}"),
        ("rating", lambda r, u, i: 1 + i % 5), ("is_gift", lambda r, u, i: ("true", "false")[r % 2]), ("url", lambda r, u, i: f"http://a/{i}"),
        ("rating", lambda r, u, i: 5),
    ],
)  # fmt: skip
def test_of_other_columns_nothing_is_said(tmp_path, name, cell):
    about = log_of(tmp_path, rows(cell, header=f"user,item,{name}")).about
    assert about.startswith("all 300 rows; users in column user, items in column item; 40 users x 30 items"), about


@pytest.mark.parametrize(
    ("header", "cell", "says"),
    [
        ("user,item,stars", stars, "column stars has values 1 to 5, as ratings have, and is not used; --min_rating 4 keeps the likes"),
        ("user,item,평점", stars, "column 평점 has values 1 to 5"),
        ("user,item,rating", lambda r, u, i: (1 + r * 7 % 10) / 2, "column rating has values 0.5 to 5, "),
        ("user,item,score", lambda r, u, i: 1 + r * 7 % 10, "column score has values 1 to 10, as ratings have, .*; --min_rating 8"),
        ("user,item,vote", stars, "--min_rating 4 --rating_column vote keeps the likes"),
        ("", stars, "column 3 has values 1 to 5, as ratings have, and is not used; --min_rating 4 keeps the likes"),
    ],
)  # fmt: skip
def test_ratings_that_are_not_used_are_named(tmp_path, header, cell, says):
    text = rows(cell, header=header)
    assert re.search(says, log_of(tmp_path, text).about)
    assert "as ratings have" not in log_of(tmp_path, text, min_rating=4, rating_column="3").about


@pytest.mark.parametrize(
    ("name", "cell", "says"),
    [
        ("event", event, "column event has view (60 %), cart, purchase; every row counts alike; --where chooses"),
        ("aktion", lambda r, u, i: ("ansehen", "ansehen", "kaufen")[r % 3], "column aktion has ansehen (67 %), kaufen; every row"),
        ("what", event, "column what has view (60 %), cart, purchase"),
        ("behavior_type", lambda r, u, i: 1 + r * 3 % 4, "column behavior_type has "),
    ],
)  # fmt: skip
def test_kinds_of_events_are_named(tmp_path, name, cell, says):
    text = rows(cell, header=f"user,item,{name}")
    assert says in log_of(tmp_path, text).about
    assert "every row counts alike" not in log_of(tmp_path, text, where=f"{name} IS NOT NULL").about


def test_each_hint_comes_once_and_also_of_frames_several_files_and_an_update(tmp_path, capsys):
    header = "user,item,event,stars,day"
    text = rows(event, stars, date, header=header)
    about = log_of(tmp_path, text).about
    assert [about.count(words) for words in ("has times", "as ratings have", "every row counts alike")] == [1, 1, 1]
    (tmp_path / "more.csv").write_text(text)
    both = read_log([tmp_path / "log.csv", tmp_path / "more.csv"], DataOptions()).about
    assert [both.count(words) for words in ("has times", "as ratings have", "every row counts alike")] == [1, 1, 1]
    frame = pl.read_csv(tmp_path / "log.csv", try_parse_dates=True)
    assert TIMES.format("day") in read_log(frame, DataOptions()).about
    frame.write_parquet(tmp_path / "log.parquet")
    where = {"source": tmp_path / "log.parquet", "split_seed": 1, "k_core": 3}
    on_disk = load_dataset(**where, on_disk="yes", scratch=tmp_path).notes[0]
    assert on_disk.replace("; on disk", "") == load_dataset(**where, on_disk="no").notes[0]
    assert TIMES.format("day") in on_disk
    run = str(tmp_path / "run")
    assert main(["train", "--model", "popularity", "--dataset", str(tmp_path / "log.csv"), "--out", run, "--quiet"]) == 0
    assert TIMES.format("day") in capsys.readouterr().err
    (tmp_path / "more.csv").write_text(text + "somebody," + text.splitlines()[-1].partition(",")[2] + "\n")
    words = ["update", run, "--interactions", str(tmp_path / "more.csv"), "--out", str(tmp_path / "new"), "--measure", "none", "--quiet"]
    assert main(words) == 0
    assert TIMES.format("day") in capsys.readouterr().err


def test_a_date_typed_column_or_day_is_found_as_time():
    frame = pl.DataFrame({"user": [1, 2, 1], "item": [1, 1, 2], "stamp_": [1, 2, 3]}).with_columns(pl.col("stamp_").cast(pl.Datetime("us")))
    assert read_log(frame, DataOptions(split="last")).times.tolist() == [1, 2, 3]
    assert find(open_table(frame, DataOptions()), "time") == "stamp_"
    two = frame.with_columns(other=pl.col("stamp_"))
    assert find(open_table(two, DataOptions()), "time") is None
    day = pl.DataFrame({"user": [1, 2], "item": [1, 1], "day": ["2025-01-01", "2025-01-02"]})
    assert find(open_table(day, DataOptions()), "time") == "day"


def test_a_rating_column_without_min_rating_is_said_not_to_be_used_and_one_of_text_is_refused(tmp_path):
    text = rows(stars, event, header="user,item,stars,event")
    about = log_of(tmp_path, text, rating_column="stars").about
    assert "the ratings in column stars are not used; --min_rating 4 keeps" in about
    assert "ratings in column stars;" not in about
    message = refusal(tmp_path, text, rating_column="event")
    assert "column event holds text such as 'view', and ratings are numbers" in message


# ------------------------------------------------------------------ which column was meant


def test_names_that_end_like_those_of_items_are_found(tmp_path):
    log = log_of(tmp_path, rows(lambda r, u, i: f"{u}-{r}", header="visitor_id,product_sku,session"))
    assert "users in column visitor_id, items in column product_sku" in log.about


def test_what_is_suggested_fits_or_nothing_is(tmp_path):
    text = rows(event, lambda r, u, i: 1_735_691_760 + r, lambda r, u, i: f"{u}-{r}", header="visitor_id,thing,event,ts,session")
    assert "such as --item_column thing (item_column='thing')" in refusal(tmp_path, text)
    message = refusal(tmp_path, text, item_column="thing", min_rating=4)
    assert "holds the ratings; give rating_column (--rating_column)" in message
    assert "such as" not in message
    text = rows(lambda r, u, i: 1 + r * 7 % 5, date, price, header="user,item,grade_given,x,y,z")
    assert "--rating_column grade_given" in refusal(tmp_path, text, min_rating=4)


@pytest.mark.parametrize("given", ["product-sku", "Product SKU", "productsku", "prodct_sku"])
def test_a_name_that_is_nearly_one_is_suggested(tmp_path, given):
    message = refusal(tmp_path, rows(header="visitor_id,product_sku"), item_column=given)
    assert f"has no column {given!r}; did you mean product_sku? give one of visitor_id, product_sku, or a number from 1 to 2" in message


def test_swapped_roles_are_warned_of(tmp_path):
    text = rows(header="Kunde,Artikel")
    with pytest.warns(DataWarning, match=r"column Artikel is read as users and column Kunde as items, .* give --user_column Kunde"):
        log_of(tmp_path, text, user_column="Artikel", item_column="Kunde")
    log_of(tmp_path, text, user_column="Kunde", item_column="Artikel")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (lambda r, u, i: f"x{r % 290}", r"column what has 290 items in 300 rows, so hardly any comes twice"),
        (lambda r, u, i: f"{i}.99", r"the items of column what are numbers with decimals, as prices are \(such as 0.99\)"),
        (lambda r, u, i: f"{1 + i:02d}.01.2025", r"the items of column what are times \(such as 01.01.2025\)"),
    ],
)
def test_items_that_cannot_be_items_are_warned_of(tmp_path, cell, says):
    with pytest.warns(DataWarning, match=says):
        log_of(tmp_path, rows(cell, header="user,item,what"), item_column="what")


def test_a_handful_of_items_in_many_rows_is_warned_of(tmp_path):
    with pytest.warns(DataWarning, match=r"column event has only 3 items \('cart', 'purchase', 'view'\) in 2000 rows; .*--item_column"):
        log_of(tmp_path, rows(event, header="user,item,event", num_rows=2000), item_column="event")


# ------------------------------------------------------------------ where, repetitions, times


def test_where_that_keeps_nothing_says_what_stands_in_its_columns(tmp_path):
    text = rows(event, header="user,item,event")
    message = refusal(tmp_path, text, where="event = 'buy'")
    assert message.endswith("""where "event = 'buy'" keeps 0 of 300 rows; column event has view, cart, purchase""")
    assert "column item has " in refusal(tmp_path, text, where="item = 'x'")
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(DataError, match="keeps 0 of 600 rows; column event has view"):
        read_log([tmp_path / "log.csv", tmp_path / "b.csv"], DataOptions(where="event = 'buy'"))
    pl.read_csv(tmp_path / "b.csv").write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="keeps 0 of 300 rows; column event has view, cart, purchase"):
        load_dataset(tmp_path / "b.parquet", where="event = 'buy'", on_disk="yes", scratch=tmp_path)


def test_what_where_keeps_is_said_before_what_ratings_keep(tmp_path):
    text = rows(event, stars, header="user,item,event,stars")
    assert log_of(tmp_path, text, where="event = 'view'").about.startswith("300 rows, of which where event = 'view' keeps 180; users")
    about = log_of(tmp_path, text, where="event = 'view'", min_rating=4).about
    assert about.startswith("300 rows, of which where event = 'view' keeps 180; ")
    assert " of 180 rows rated 4 or higher; " in about


def test_many_repetitions_are_part_of_what_was_read_and_few_are_a_warning(tmp_path):
    text = "user,item,timestamp\n" + "".join(f"u{row % 20},i{row % 6},{1_600_000_000 + row}\n" for row in range(90))
    assert log_of(tmp_path, text).about.endswith("20 users x 6 items; 30 rows repeat a pair and count once")
    assert log_of(tmp_path, text, split="time").about.endswith("; 30 rows repeat a pair and count once, at its first time")
    assert log_of(tmp_path, text, time_column="timestamp").about.endswith("count once, at its latest time")
    data = load_dataset(tmp_path / "log.csv", split="none")
    assert "30 rows repeat a pair and count once" in data.notes[0]
    assert len(data.everything) == 60
    log = log_of(tmp_path, "user,item\n" + "".join(f"u{row},i{row % 6}\n" for row in (*range(60), *range(19))))
    assert "repeat" not in log.about
    with pytest.warns(DataWarning, match=r"row 62: user 'u0' has item 'i0' twice; 19 such repetitions were counted once"):
        read_interactions(tmp_path / "log.csv")


def test_a_rating_that_comes_again_counts_by_the_copies_that_are_high_enough(tmp_path):
    text = "user,item,rating,timestamp\na,x,5,1600000001\na,x,1,1600000009\nb,x,2,1600000003\na,y,4,1600000004\na,y,5,1600000007\n"
    (tmp_path / "log.csv").write_text(text)
    for split, times in (("random", [1_600_000_001, 1_600_000_007]), ("last", [1_600_000_001, 1_600_000_004])):
        with pytest.warns(DataWarning, match="item 'y' twice; it was counted once"):
            found = read_interactions(tmp_path / "log.csv", min_rating=4, time_column="timestamp", split=split)
        assert found.times.tolist() == [time * 1_000_000 for time in times]


def test_rows_that_net_merges_are_counted(tmp_path):
    text = "user,item,qty\n" + "".join(f"u{row % 20},i{row % 6},1\n" for row in range(90)) + "u1,i1,1\nu1,i1,-1\n"
    assert log_of(tmp_path, text, net=True).about.endswith("; 31 rows repeat a pair and were added up")


def test_numbers_that_are_no_times_are_refused_where_the_log_is_split_by_them(tmp_path):
    text = rows(lambda r, u, i: 60_000 * (1 + r % 5), header="user,item,ms")
    assert "all times in column ms are in 1970, so these numbers are not seconds" in refusal(tmp_path, text, split="time", time_column="ms")
    with pytest.warns(DataWarning, match="in column ms are in 1970"):
        log_of(tmp_path, text, split="last", time_column="ms")


# ------------------------------------------------------------------ text that is not a table

SCRIPT = """import json,collections,datetime
R=[json.loads(l) for l in open('plays.jsonl')]
print(R[-3:]);print(len(R),len({r['listener'] for r in R}),len({r['track'] for r in R}))
print(collections.Counter(tuple(r) for r in R)); print(sorted(collections.Counter(r['ms'] for r in R).items())[:40])
p=collections.Counter((r['listener'],r['track']) for r in R); print('pairs',len(p),p.most_common(5))
"""
LETTER = """Dear Anna,
thank you very much for your long letter of Monday.
The numbers that you sent are fine, and the rest of them is not.
We should really talk about all of this one day soon.
See you in the office on Tuesday morning, I hope.
"""


@pytest.mark.parametrize("text", [SCRIPT, LETTER, SCRIPT * 40, LETTER.replace(",", ";")])
@pytest.mark.parametrize("name", ["look.py", "look.csv", "look.txt", "look.tsv"])
def test_a_script_or_a_letter_is_not_a_table(tmp_path, text, name):
    assert f"{name} is not a table: its lines are those of a text or of a program" in refusal(tmp_path, text, name)


@pytest.mark.parametrize(
    "lines",
    [
        ["milk,bread", "whole milk,citrus fruit,soda", "beer", "butter,milk,bread,tea"],
        ["user,item,title", "1,2,Lock, Stock and Two Smoking Barrels", "1,3,Heat", "2,2,Lock, Stock and Two Smoking Barrels"],
        ["1::2::One Flew Over the Cuckoo's Nest (1975)"] * 5,
        ["1 2 3", "2 3", "3 4 5 6"],
        ["user,item,review", *['u1,i1,"I liked it very much, and so did everybody else in my house"'] * 4],
        ["a", "b"],
    ],
)  # fmt: skip
def test_baskets_and_tables_with_titles_are_no_prose(lines):
    assert not is_prose(lines, '"')


# ------------------------------------------------------------------ calls in Python


def test_a_list_of_pairs_is_read_as_a_frame_is():
    pairs = [("ann", 7), ("bob", 7), ("ann", 9)]
    found = read_interactions(pairs)
    assert (found.num_users, found.num_items, len(found)) == (2, 2, 3)
    frame = pl.DataFrame({"user": [one[0] for one in pairs], "item": [7, 7, 9]})
    assert Popularity().fit(pairs).train_.hash == read_interactions(frame).hash
    play = collections.namedtuple("play", "listener track stars")
    assert len(read_interactions([play("ann", "x", 5), play("bob", "y", 1)], min_rating=4)) == 1
    assert len(load_dataset(pairs, split="none").train) == 3


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ([[1, 2], [3, 4]], "a list of lists could be pairs or the rows of a matrix; give tuples"),
        ([(1, 2, 3), (3, 4, 5)], r"a tuple is a user and an item, and \(1, 2, 3\) has 3 cells"),
        ([(1, 2), (3,)], "holds tuples of the same length"),
        ([("a", 2), (1, 4)], "all integers or all texts"),
        (np.eye(3), "cannot read interactions from ndarray; give .* or a list of tuples"),
    ],
)
def test_other_lists_are_refused_in_a_sentence(source, says):
    with pytest.raises(UsageError, match=says):
        Popularity().fit(source)


@pytest.mark.parametrize("y", [pl.Series([1.0, 2.0]), np.array([1.0, 2.0]), [1.0, 2.0], [1, 2]])
def test_the_second_argument_of_fit_is_no_y(y):
    frame = pl.DataFrame({"user": [1, 2], "item": [1, 1]})
    with pytest.raises(UsageError, match="the second argument of fit is validation pairs, not y"):
        Popularity().fit(frame, y)


def test_a_wide_table_in_pandas_is_named_also_with_the_ids_in_the_index():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"user": np.arange(60) % 6, "item": np.arange(60) % 10, "stars": 1.0})
    wide = frame.pivot_table(index="user", columns="item", values="stars")
    nameless = wide.copy()
    nameless.columns.name = nameless.index.name = None
    for some in (wide, wide.reset_index(), wide[[0, 2]], nameless, frame.pivot_table(index="user", columns="item")):
        with pytest.raises(
            DataError, match=r"the frame is a wide table, it seems: .* give a frame in which each row is a user and an item"
        ):
            Popularity().fit(some)
    with pytest.raises(DataError, match=r"the frame has user as its index, not as a column; give frame.reset_index\(\)"):
        Popularity().fit(frame.set_index("user"))


def test_a_frame_is_not_a_list_of_ids_and_not_held_out_pairs():
    pandas = pytest.importorskip("pandas")
    frame = pl.DataFrame({"user": [1, 1, 2, 3], "item": [1, 2, 1, 3]})
    in_pandas = pandas.DataFrame({"user": [1, 1, 2, 3], "item": [1, 2, 1, 3]})
    model = Popularity().fit(frame)
    for some in (frame, in_pandas):
        with pytest.raises(UsageError, match=r"give (that|the) column.* frame\['user'\]"):
            model.recommend(some)
        with pytest.raises(UsageError, match=r"evaluate takes interactions, .*; make them with Interactions.from_frame\(...\)"):
            evaluate(model, some)
    assert model.recommend(frame["user"], 1)[0].shape == (4, 1)
    assert len(Interactions.from_frame(frame)) == 4


def test_a_condition_that_is_true_of_no_item_is_warned_of():
    model = Popularity().fit(pl.DataFrame({"user": [1, 1, 2], "item": ["tea", "pie", "tea"]}))
    model.set_items_table(pl.DataFrame({"item": ["tea", "pie"], "price": [3.5, 12.0]}))
    with pytest.warns(DataWarning, match="where 'price > 100' is true of none of 2 items, so lists have no items"):
        assert len(model.recommend(2, where="price > 100")[0]) == 0
