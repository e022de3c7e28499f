"""What people bring: a small input of each kind, read rightly, or refused in one sentence that names what to do."""

import bz2
import gzip
import json
import lzma
import re
import sqlite3
import warnings
import zipfile
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from ultragcn import load_dataset
from ultragcn.data.containers import suffix_of
from ultragcn.data.log import read_log
from ultragcn.data.options import DataOptions
from ultragcn.errors import DataError, DataWarning, MissingDependencyError, UsageError

NUM_USERS, NUM_ITEMS = 12, 8
PAIRS = [(user, item, 1 + (user + item) % 5) for user in range(1, NUM_USERS + 1) for item in range(1, NUM_ITEMS + 1) if (user + item) % 4]
N = len(PAIRS)
TITLES = ["Amber", "Birch", "Café Noir", "Dunes", "Élan", "Fjord", "Garçon", "Harbour"]


def table(separator=",", header="user_id,item_id,rating", pairs=PAIRS):
    lines = [separator.join(map(str, row)) for row in pairs]
    return "\n".join([*([header.replace(",", separator)] if header else []), *lines]) + "\n"


def read(place, content=None, **options):
    if content is not None:
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_log(place, DataOptions().replace(**options))


def rows_of(log):
    return sorted(zip(log.user_ids.ids[log.users].tolist(), log.item_ids.ids[log.items].tolist(), strict=True))


NUMBERS = sorted((user, item) for user, item, _ in PAIRS)


def quietly(function, *given, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return function(*given, **options)


def refused(message, place, content=None, **options):
    with pytest.raises((DataError, UsageError), match=message) as caught:
        quietly(read, place, content, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------ separators, decimals, comments


@pytest.mark.parametrize("rating", ["5", "4.5"])
def test_user_item_rating_between_blanks_is_a_table(tmp_path, rating):
    text = "".join(f"{user} {item} {rating if user == 1 else 3}\r\n" for user, item, _ in PAIRS)
    assert rows_of(read(tmp_path / "log.txt", text)) == NUMBERS
    assert rows_of(read(tmp_path / "log.dat", re.sub(" ", "  ", text))) == NUMBERS


def test_lines_of_users_stay_lines_of_users(tmp_path):
    assert rows_of(read(tmp_path / "log.txt", "1 5 6\n2 5 6\n3 6 7\n")) == [(1, 5), (1, 6), (2, 5), (2, 6), (3, 6), (3, 7)]
    # The same user in several lines, which are not equally long.
    many = "".join(f"{row % 3} {row} {row + 100}{' 999' * (row % 2)}\n" for row in range(60))
    assert len(read(tmp_path / "log.txt", many).users) == 150
    plays = "".join(f"{user} {item} {user * item * 37}\n" for user, item, _ in PAIRS)
    assert rows_of(read(tmp_path / "log.txt", plays)) == NUMBERS


@pytest.mark.parametrize(
    "header", ["user;item;rating;date\r\n", "Kunde;Artikel;Bewertung;Datum\r\n", "sep=;\r\nuser;item;rating;date\r\n", ""]
)
def test_a_german_excel_is_read_with_its_semicolons_and_commas(tmp_path, header):
    text = header + "".join(
        f"{user};{item};{rating},{5 * (user % 2)};{1 + row % 28:02d}.01.2021 09:00\r\n" for row, (user, item, rating) in enumerate(PAIRS)
    )
    log = read(tmp_path / "log.csv", "\ufeff" + text, split="time", min_rating=4, time_column=4)
    assert rows_of(log) == sorted((user, item) for user, item, rating in PAIRS if rating >= 4)
    assert rows_of(read(tmp_path / "log.csv", min_rating=4, decimal=",")) == rows_of(log)


def test_a_comma_that_could_stand_for_thousands_is_refused(tmp_path):
    text = "user;item;rating\n" + "".join(f"{user};{item};1,500\n" for user, item, _ in PAIRS)
    refused(r"cannot read the rating '1,500' .*--decimal \",\" \(decimal=','\)", tmp_path / "log.csv", text, min_rating=1)
    assert len(read(tmp_path / "log.csv", min_rating=1.5, decimal=",").users) == len(PAIRS)
    refused("decimal must be a point or a comma", tmp_path / "log.csv", decimal="x")


def test_comments_before_the_first_row_are_skipped_and_others_on_request(tmp_path):
    rows = table("\t", header="")
    assert rows_of(read(tmp_path / "log.txt", "# Directed graph\n# From To\n" + rows)) == NUMBERS
    assert rows_of(read(tmp_path / "log.txt", rows.replace("\n", "\n% note\n", 3), comment="%")) == NUMBERS
    assert rows_of(read(tmp_path / "out.konect", "% bip weighted\n% 12 8\n" + table(" ", header=""))) == NUMBERS
    assert rows_of(read(tmp_path / "log.csv", "made by\nhand\n" + table(), skip_rows=2)) == NUMBERS
    # Ids that begin with # are ids.
    assert len(read(tmp_path / "log.csv", "#7,1\n#8,2\nx,3\n", header="no").users) == 3


def test_recbole_with_blanks_is_read(tmp_path):
    text = table(" ", "user_id:token,item_id:token,rating:float")
    assert rows_of(read(tmp_path / "log.inter", text)) == NUMBERS


# ------------------------------------------------------------------ encodings and quotes


def test_other_encodings_are_named_and_read_on_request(tmp_path):
    text = "회원번호,상품명\n" + "".join(f"회원{user:03d},영화{item}\n" for user, item, _ in PAIRS)
    expected = sorted((f"회원{user:03d}", f"영화{item}") for user, item, _ in PAIRS)
    refused(r"row 1: .* is not UTF-8; .*--encoding cp949", tmp_path / "log.csv", text.encode("cp949"))
    assert rows_of(read(tmp_path / "log.csv", encoding="cp949")) == expected
    assert rows_of(read(tmp_path / "log.csv.gz", gzip.compress(text.encode("cp949")), encoding="euc-kr")) == expected
    late = (table() * 2).replace("user_id", "7") + "77,남산,3\n"
    assert f"row {2 * N + 3}: " in refused("--encoding cp949", tmp_path / "late.csv", late.encode("cp949"), header="no")
    latin = "user,item\n" + "".join(f"{user},Café {item}\n" for user, item, _ in PAIRS)
    refused("--encoding cp1252", tmp_path / "latin.csv", latin.encode("latin-1"))
    assert len(read(tmp_path / "latin.csv", encoding="latin-1").item_ids) == NUM_ITEMS
    refused("near line 1: not cp949", tmp_path / "wrong.csv", b"\xff\xff,1\n", encoding="cp949")
    with pytest.raises(UsageError, match="unknown encoding 'cp94'; did you mean cp949"):
        DataOptions(encoding="cp94")
    for codec in ("rot13", "base64", "idna", "no\0"):
        with pytest.raises(UsageError, match="unknown encoding"):
            DataOptions(encoding=codec)


@pytest.mark.parametrize(
    ("encoding", "item"),
    [("cp949", "영화 남산"), ("shift_jis", "映画となりのトトロ"), ("gb18030", "电影卧虎藏龙"), ("cp1251", "Фильм Сталкер"), ("cp1252", "Amélie à l'été, Señor Jäger")],
)  # fmt: skip
def test_the_likely_encoding_is_named(tmp_path, encoding, item):
    text = "user,item\n" + "".join(f'{user},"{item} {number}"\n' for user, number, _ in PAIRS)
    refused(f"--encoding {encoding} ", tmp_path / "log.csv", text.encode(encoding))
    assert f"{item} 1" in read(tmp_path / "log.csv", encoding=encoding).item_ids.ids


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_is_read_and_said(tmp_path, encoding):
    log = read(tmp_path / "log.txt", table("\t").encode(encoding))
    assert rows_of(log) == NUMBERS
    assert encoding.upper() in log.about


def test_quotes_are_letters_on_request_and_past_columns_that_are_not_read(tmp_path):
    named = [f'"{title}" LP' if place % 2 else f'{title} 12"' for place, title in enumerate(TITLES)]
    text = "".join(f"{user}\t{named[item - 1]}\t{item}\n" for user, item, _ in PAIRS)
    refused(r"row 1: .* has a quote inside a cell; .*--quote none", tmp_path / "log.tsv", text)
    log = read(tmp_path / "log.tsv", quote="none")
    assert set(log.item_ids.ids) == set(named)
    assert len(log.users) == len(PAIRS)
    with pytest.warns(DataWarning, match="only columns that are not read have this fault, so it was ignored"):
        assert rows_of(read(tmp_path / "log.tsv", item_column=3)) == NUMBERS
    lone = table("\t", header="").replace("\n", '\t"open\n', 1)
    with pytest.warns(DataWarning, match="so it was ignored"):
        read(tmp_path / "lone.tsv", "".join(line + "\tx\n" if "open" not in line else line + "\n" for line in lone.splitlines()))
    with pytest.raises(UsageError, match="quote must be one ASCII character"):
        DataOptions(quote="''")
    assert rows_of(read(tmp_path / "single.csv", table().replace("1,", "'1',", 1), quote="'")) == NUMBERS


def test_bytes_that_are_not_utf_8_are_read_past_where_nobody_needs_them(tmp_path):
    text = "".join(f"{user},{item},Café\n" for user, item, _ in PAIRS).encode("latin-1")
    with pytest.warns(DataWarning, match="not UTF-8; .*so it was ignored"):
        assert rows_of(read(tmp_path / "log.csv", b"user,item,title\n" + text)) == NUMBERS


# ------------------------------------------------------------------ containers and other files


def test_archives_and_several_files_are_one_log(tmp_path):
    lines = table().splitlines(keepends=True)
    for packed, name in ((bz2.compress, "log.csv.bz2"), (lzma.compress, "log.csv.xz"), (gzip.compress, "log.csv")):
        assert rows_of(read(tmp_path / name, packed(table().encode()))) == NUMBERS
    parts = tmp_path / "spark"
    parts.mkdir()
    (parts / "_SUCCESS").write_text("")
    for number in range(3):
        (parts / f"part-0000{number}-c000.csv").write_text("".join([lines[0], *lines[1 + number :: 3]]))
    for source in (parts, parts / "part-*.csv", ",".join(map(str, sorted(parts.glob("part-*")))), sorted(parts.glob("part-*"))):
        log = read(source)
        assert rows_of(log) == NUMBERS
        assert log.place(len(log.users) - 1).startswith(str(parts / "part-00002-c000.csv"))
    (parts / "part-00003-c000.csv").write_text("user_id,item_id,rating\nx,1,2\n")
    assert read(parts).user_ids.are_strings
    with pytest.raises(UsageError, match="no file matches"):
        read(tmp_path / "no-*.csv")


def test_parts_without_a_header_of_their_own_are_named_by_the_first(tmp_path):
    text = table(header="rating,item_id,user_id", pairs=[(rating, item, user) for user, item, rating in PAIRS])
    lines = text.splitlines(keepends=True)
    (tmp_path / "log1.csv").write_text("".join(lines[:30]))
    (tmp_path / "log2.csv").write_text("".join(lines[30:]))
    assert rows_of(read(tmp_path / "log?.csv")) == NUMBERS


def test_a_zip_is_a_folder(tmp_path):
    titles = "item_id,title\n" + "".join(f"{item},{TITLES[item - 1]}\n" for item in range(1, NUM_ITEMS + 1))
    with zipfile.ZipFile(tmp_path / "ml.zip", "w") as archive:
        for name, text in (("ml/ratings.csv", table()), ("ml/movies.csv", titles), ("ml/README.txt", "read me")):
            archive.writestr(name, text)
    data = load_dataset(tmp_path / "ml.zip")
    assert data.item_titles.tolist() == TITLES
    assert data.notes[0].startswith(f"{tmp_path / 'ml.zip'}/ml/ratings.csv: all {len(PAIRS)} rows")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("../../evil.exe", "x")
    refused("is a zip in which nothing can be read as a log", tmp_path / "none.zip")
    refused("zip archive is damaged or cut short", tmp_path / "cut.zip", (tmp_path / "ml.zip").read_bytes()[:200])


def test_damaged_archives_are_one_sentence(tmp_path):
    for packed, name in ((bz2.compress, "log.csv.bz2"), (lzma.compress, "log.csv.xz"), (gzip.compress, "log.csv.gz")):
        whole = packed(table().encode() * 50)
        refused("cut short|damaged", tmp_path / name, whole[: len(whole) // 2])
        refused("cut short|damaged", tmp_path / name, whole[:20] + b"\0" * 20 + whole[40:])


def test_a_database_and_a_workbook_are_read_or_named(tmp_path):
    place = tmp_path / "log.sqlite"
    with sqlite3.connect(place) as opened:
        opened.execute("CREATE TABLE ratings (user_id INT, item_id INT, rating REAL, note BLOB)")
        opened.executemany("INSERT INTO ratings VALUES (?, ?, ?, ?)", [(*row, b"\xff") for row in PAIRS])
    opened.close()
    assert rows_of(read(place)) == NUMBERS
    assert len(read(place, min_rating=4).users) == sum(rating >= 4 for *_, rating in PAIRS)
    with sqlite3.connect(place) as opened:
        opened.execute("CREATE TABLE films (id INT)")
    opened.close()
    refused(r"several tables, ratings, films; give the table of the interactions with --table", place)
    assert rows_of(read(place, table="ratings")) == NUMBERS
    refused("has no table 'rating'; did you mean ratings", place, table="rating")
    refused("damaged or not a SQLite database", tmp_path / "bad.sqlite", b"SQLite format 3\0" + b"x" * 200)


def test_a_workbook_is_read_where_its_package_is_and_named_elsewhere(tmp_path):
    place = tmp_path / "log.xlsx"
    cells = "".join("<row>" + "".join(f"<c><v>{cell}</v></c>" for cell in row) + "</row>" for row in PAIRS)
    header = "<row>" + "".join(f'<c t="inlineStr"><is><t>{name}</t></is></c>' for name in ("user_id", "item_id", "rating")) + "</row>"
    # ruff: noqa: E501
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rel = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="xml" ContentType="application/xml"/><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="{rel}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{rel}"><sheets><sheet name="Log" sheetId="1" r:id="r1"/></sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="{rel}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        )
        archive.writestr("xl/worksheets/sheet1.xml", f'<worksheet xmlns="{main}"><sheetData>{header}{cells}</sheetData></worksheet>')
    try:
        import fastexcel  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match=r"is an Excel workbook; save its sheet as CSV .*ultragcn\[excel\]"):
            read(place)
        return
    assert rows_of(read(place)) == NUMBERS


@pytest.mark.parametrize("form", ["lines", "ragged", "array", "pretty", "gzip"])
def test_json_is_read_by_its_keys(tmp_path, form):
    rows = [{"reviewerID": f"A{user}", "asin": item, "overall": float(rating), "text": 'said "no", twice'} for user, item, rating in PAIRS]
    if form == "ragged":
        rows = [row | ({"helpful": [1, 2]} if place % 3 else {}) for place, row in enumerate(rows)]
    text = {"array": json.dumps(rows), "pretty": json.dumps(rows, indent=1)}.get(form, "\n".join(map(json.dumps, rows)) + "\n\n")
    content = gzip.compress(text.encode()) if form == "gzip" else text.encode()
    log = read(tmp_path / ("log.json.gz" if form == "gzip" else "log.json"), content, min_rating=3)
    assert rows_of(log) == sorted((f"A{user}", item) for user, item, rating in PAIRS if rating >= 3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"user": 1, "item": 2}\n{"user": 1\n', "line 2: .* is not a JSON object"), ('{"user": 1, "item": 2}\n[3]\n', "line 2: "),
        ('[{"user": 1, "item": 2}, {"user"', "broken or cut short after 1 objects"), ("[1, 2]", "element 1|not a JSON"),
        ("[]", "single column|is empty"), ("{'user': 1, 'item': 2}\n", "made of Python dictionaries, not of JSON"),
        ('{"user": 1}\n', "it is not clear which of the columns user holds the items"), ("{}\n{}\n", "objects without keys"),
    ],
)  # fmt: skip
def test_json_that_is_no_log_is_named(tmp_path, text, says):
    refused(says, tmp_path / "log.json", text)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "pointer of Git LFS, .*git lfs pull"),
        ("a.gz", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "pointer of Git LFS"),
        ("a.arff", b"% c\n@RELATION x\n@ATTRIBUTE user STRING\n@DATA\n1,2\n", "ARFF file of Weka"),
        ("a.csv", b"<!DOCTYPE html>\n<html></html>", "is a web page"), ("a.xml", b"<?xml version='1.0'?><a/>", "is XML"),
        ("a.txt", b"1:\n1488015,3,2021-01-02\n1488025,4,2021-01-04\n2:\n", "in blocks"),
        ("a.mtx", b"%%MatrixMarket matrix\n", "Matrix Market"),
        ("a.sql", b"-- dump\nCREATE TABLE x (a int);\n", "dump of a database"), ("a.txt", b"1 3:1.0 7:2 9:1\n", "format of libsvm"),
        ("a.pkl", b"\x80\x04\x95\x00\x00", "is a pickle"), ("a.h5", b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
        ("a.npy", b"\x93NUMPY\x01\0", "NumPy array"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "old Excel"), ("a.7z", b"7z\xbc\xaf\x27\x1c\0", "7z archive"),
        ("a.pdf", b"%PDF-1.7\n\x00\x01", "PDF"), ("a.tar", b"x" * 257 + b"ustar\0" + b"\0" * 200, "tar archive"),
    ],
)  # fmt: skip
def test_other_things_are_named_for_what_they_are(tmp_path, name, content, says):
    assert name in refused(says, tmp_path / name, content)


def test_names_that_begin_like_other_files_are_names(tmp_path):
    for user in ("BZhang", "ORCHID", "PAR10", "GIF8", "Rar!", "RDX"):
        text = f"{user},1\n{user},2\nother,1\n"
        assert len(read(tmp_path / "log.csv", text, header="no").users) == 3


def test_tables_that_are_no_logs_are_named(tmp_path):
    wide = "user," + ",".join(f"film {item}" for item in range(30)) + "\n" + "".join(f"u{user},5{',,4' * 14},\n" for user in range(9))
    refused("seems to be a wide table", tmp_path / "wide.csv", wide)
    refused(
        "seems to be a wide table",
        tmp_path / "matrix.csv",
        "\n".join(",".join(str((row * column) % 5) for column in range(20)) for row in range(9)),
    )
    refused("these seem to be baskets", tmp_path / "baskets.csv", "amber,noir,dunes\nbirch,noir,dunes,fjord\na,b,c,d,e\nx,y\n")
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "order_products.csv").write_text("order_id,product_id\n1,2\n")
    (shop / "orders.csv").write_text("order_id,user_id\n1,7\n")
    (shop / "products.csv").write_text("product_id,product_name\n2,Amber\n")
    refused("has the items in order_products.csv and the users in orders.csv; join the two", shop)
    (shop / "sales.csv").write_text("user_id,product_id\n7,2\n")
    assert rows_of(read(shop)) == [(7, 2)]


# ------------------------------------------------------------------ rows and ids


def test_rows_are_chosen_by_a_condition(tmp_path):
    text = "user_id,item_id,event,price,a b\n" + "".join(f"{u},{i},{'buy' if r > 3 else 'view'},{r}.5,{i}\n" for u, i, r in PAIRS)
    log = read(tmp_path / "log.csv", text, where="event = 'buy'")
    assert rows_of(log) == sorted((user, item) for user, item, rating in PAIRS if rating > 3)
    assert f"where event = 'buy': {len(log.users)} of {len(PAIRS)} rows" in log.about
    for where, holds in (
        ("price > 2 AND user_id <> 3", lambda u, i, r: r + 0.5 > 2 and u != 3),
        ("event IN ('buy', 'x') OR item_id = 1", lambda u, i, r: r > 3 or i == 1),
        ('"a b" BETWEEN 2 AND 4', lambda u, i, r: 2 <= i <= 4), ("event LIKE 'vi%'", lambda u, i, r: r <= 3),
    ):  # fmt: skip
        expected = sorted((user, item) for user, item, rating in PAIRS if holds(user, item, rating))
        assert rows_of(read(tmp_path / "log.csv", where=where)) == expected, where
    frame = pl.read_csv(tmp_path / "log.csv")
    assert rows_of(read_log(frame, DataOptions(where="price > 2"))) == sorted((u, i) for u, i, r in PAIRS if r + 0.5 > 2)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("event =", "cannot make sense of where"), ("SELECT 1", "cannot make sense"),
        ("evnt = 'buy'", "no column 'evnt' .*did you mean event"),
        ("event", "is not a condition"), ("event = 3", "is not a condition"), ("1 = 1", "has no column of"),
        ("price + 1", "is not a condition"), ("event REGEXP 'a('", "is not a condition"), ("event = 'no such'", "has no interactions"),
    ],
)  # fmt: skip
def test_conditions_that_mean_nothing_are_one_sentence(tmp_path, where, says):
    refused(says, tmp_path / "log.csv", "user,item,event,price\n1,2,buy,3\n1,3,view,4\n", where=where)


def test_rows_without_ids_are_skipped_and_counted_on_request(tmp_path):
    text = table() + ",3,1\n7,,2\n\n  ,4,5\nNA,4,5\nnull,5,1\n,,\n"
    message = refused(r"no user id in column user_id; .*--missing skip", tmp_path / "log.csv", text)
    assert f"row {len(PAIRS) + 2} (the first of 3 such rows)" in message
    log = read(tmp_path / "log.csv", missing="skip")
    assert rows_of(log) == NUMBERS
    assert "5 rows without a user or an item skipped (written NA, null)" in log.about
    floats = pl.DataFrame({"user": [1.0, None, 2.0, float("nan")], "item": [1, 2, 3, 4]})
    with pytest.raises(DataError, match="or give missing=skip"):
        read_log(floats, DataOptions())
    assert rows_of(read_log(floats, DataOptions(missing="skip"))) == [(1, 1), (2, 3)]


def test_returns_are_netted_on_request(tmp_path):
    text = "user,item,quantity\na,x,3\na,x,-1\na,y,2\na,y,-2\nb,x,1\nb,x,1\nc,y,-4\nb,z,0.1\nb,z,0.2\nb,z,-0.3\n"
    log = read(tmp_path / "log.csv", text, net=True)
    assert sorted(set(rows_of(log))) == [("a", "x"), ("b", "x")]
    assert "3 of 10 rows after returns" in log.about
    assert sorted(set(rows_of(read(tmp_path / "log.csv", net=True, quantity_column=3)))) == [("a", "x"), ("b", "x")]
    with pytest.raises(UsageError, match="quantity_column is read with net"):
        DataOptions(quantity_column="quantity")
    refused(r"row 2: cannot read the quantity 'many' in column quantity", tmp_path / "bad.csv", "user,item,quantity\na,x,many\n", net=True)


def test_lists_in_a_cell_are_taken_apart_on_request(tmp_path):
    text = "".join(f"{row}\tU{user}\tN{item} N{1 + item % 8}\n" for row, (user, item, _) in enumerate(PAIRS))
    log = read(tmp_path / "log.tsv", text, user_column=2, item_column=3, item_list="blank")
    assert len(log.users) == 2 * len(PAIRS)
    assert set(log.item_ids.ids) == {f"N{item}" for item in range(1, NUM_ITEMS + 1)}
    assert rows_of(read(tmp_path / "b.csv", "user,items\na,\"['x', 'y']\"\nb,\"[]\"\n", item_column="items", item_list="comma")) == [
        ("a", "x"),
        ("a", "y"),
    ]
    frame = pl.DataFrame({"user": [1, 2], "item": [["a", "b"], []]})
    frame.write_parquet(tmp_path / "log.parquet")
    assert rows_of(read(tmp_path / "log.parquet")) == [(1, "a"), (1, "b")]


def test_times_are_read_by_a_given_form_and_from_two_columns(tmp_path):
    rows = [
        f"{user},{item},{1 + row % 12:02d}/{1 + row % 28:02d}/2021 0{1 + row % 9}:30:00 PM" for row, (user, item, _) in enumerate(PAIRS)
    ]
    message = refused(r"cannot read the time .*--time_format", tmp_path / "log.csv", "user,item,time\n" + "\n".join(rows), split="time")
    assert "(the first of" in message
    log = read(tmp_path / "log.csv", split="time", time_format="%m/%d/%Y %I:%M:%S %p")
    assert "times from 2021-01-01 13:30:00 to 2021-12-28 " in log.about or "times from 2021-01-" in log.about
    day = read(tmp_path / "day.csv", "user,item,date\n1,1,31/01/2021\n1,2,01/02/2021\n", split="time", time_format="%d/%m/%Y")
    assert day.times[0] < day.times[1]
    two = "user,item,date,time\n1,1,2021-01-02,09:00:00\n1,2,2021-01-01,10:00:00\n"
    refused(r"expected a date; .*--time_column \"date,time\"", tmp_path / "two.csv", two, split="time")
    assert (read(tmp_path / "two.csv", split="time", time_column="date,time").times / 3.6e9).tolist() == [447105.0, 447082.0]
    for form in ("dd/mm/yyyy", "%H:%M", "%q", "%m/%d/%Y %H"):
        with pytest.raises(UsageError, match="time_format"):
            load_dataset(tmp_path / "day.csv", split="time", time_format=form)


def test_ids_with_a_point_zero_are_whole_numbers_and_found_in_titles(tmp_path):
    log = read(tmp_path / "log.csv", table(header=",user_id,item_id", pairs=[(0, f"{user}.0", f"{item}.0") for user, item, _ in PAIRS]))
    assert rows_of(log) == NUMBERS
    assert "user ids such as" in log.about
    (tmp_path / "titles.csv").write_text("item_id,title\n" + "".join(f"{item},{TITLES[item - 1]}\n" for item in range(1, 9)))
    assert load_dataset(tmp_path / "log.csv", titles=tmp_path / "titles.csv").item_titles.tolist() == TITLES
    mixed = table(pairs=[(f"{user}.0" if item % 2 else user, item, 3) for user, item, _ in PAIRS])
    with pytest.warns(DataWarning, match=r"user ids differ only by \.0"):
        assert read(tmp_path / "mixed.csv", mixed).user_ids.are_strings


def test_blanks_around_ids_are_dropped_where_all_have_them(tmp_path):
    log = read(tmp_path / "log.csv", table(", ", "user_id, item_id, rating"), min_rating=1)
    assert rows_of(log) == NUMBERS
    assert "blanks around item ids dropped" in log.about
    with pytest.warns(DataWarning, match=r"item ids differ only by blanks .*--blanks drop"):
        assert len(read(tmp_path / "some.csv", "user,item\na,x\nb, x\nc,y\n").item_ids) == 3
    assert len(read(tmp_path / "some.csv", blanks="drop").item_ids) == 2
    assert read(tmp_path / "log.csv", blanks="keep").item_ids.ids[0] == " 1"


def test_the_header_once_more_is_left_out(tmp_path):
    with pytest.warns(DataWarning, match=rf"row {len(PAIRS) + 2}: the header is repeated"):
        assert rows_of(read(tmp_path / "log.csv", table() + table(), min_rating=1)) == sorted(NUMBERS * 2)


def test_decimals_of_databases_are_integers(tmp_path):
    frame = pl.DataFrame({"user_id": [Decimal(user) for user, *_ in PAIRS], "item_id": [str(item) for _, item, _ in PAIRS],
                          "rating": [Decimal(rating) / 2 for *_, rating in PAIRS]},
                         schema={"user_id": pl.Decimal(18, 0), "item_id": pl.String, "rating": pl.Decimal(8, 2)})  # fmt: skip
    frame.write_parquet(tmp_path / "log.parquet")
    log = read(tmp_path / "log.parquet", min_rating=2)
    assert rows_of(log) == sorted((user, str(item)) for user, item, rating in PAIRS if rating >= 4)


def test_only_the_columns_that_are_needed_are_converted():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"user": [1, 2], "item": [3, 4],
                              "when": pandas.to_datetime(["2021-01-01", "2021-01-02"]).astype("datetime64[s]"),
                              "odd": [1 + 2j, 3j], "span": pandas.to_timedelta([1, 2])})  # fmt: skip
    assert rows_of(read_log(frame, DataOptions())) == [(1, 3), (2, 4)]
    assert read_log(frame, DataOptions(time_column="when")).times.tolist() == [1609459200000000, 1609545600000000]
    with pytest.raises(DataError, match="cannot read column odd of type complex128; convert it"):
        read_log(frame, DataOptions(user_column="odd"))


def test_endings_of_names_are_known_and_missing_columns_named_together(tmp_path):
    log = read(tmp_path / "a.csv", "buyer_uuid,product_uuid,created_at\nu,p,2021-01-01\nv,p,2021-01-02\n", split="time")
    assert log.about.startswith("all 2 rows; users in column buyer_uuid, items in column product_uuid, times in column created_at")
    refused("which of the columns user, item, viewed_at, bought_at holds the times", tmp_path / "b.csv",
            "user,item,viewed_at,bought_at\n1,2,3,4\n", split="time")  # fmt: skip
    message = refused(
        "holds the users and which the items and which the times", tmp_path / "c.csv", ",who_id,what_id,amt\n0,a,b,3\n", split="time"
    )
    assert "--user_column who_id --item_column what_id --time_column amt (user_column='who_id', " in message


# ------------------------------------------------------------------ looking at what was read


@pytest.mark.parametrize(
    ("pairs", "options", "says"),
    [
        ([(user if user < 5 else "NA", item) for user, item, _ in PAIRS], {},
         r"user 'NA' .* has \d+ of 72 rows \(\d+%\); .*--missing skip"),
        ([(user if user < 5 else 99, item) for user, item, _ in PAIRS], {}, r"user 99 .*--where \"user <> 99\""),
        ([(user if user < 5 else "x", item) for user, item, _ in PAIRS], {"header": "no"}, r"""--where "\\"1\\" <> 'x'\""""),
        ([(user, row) for row, (user, *_) in enumerate(PAIRS)], {}, "no item of column item appears twice in 72 rows"),
        ([(row, item) for row, (_, item, _) in enumerate(PAIRS)], {}, "no user of column user appears twice in 72 rows"),
        ([(f"7.9E+01{user % 2}", item) for user, item, _ in PAIRS], {}, "have lost their last digits"),
        ([(user % 2, item) for user, item, _ in PAIRS], {}, r"has only 2 users \(0, 1\)"),
        ([(user, item, 5) for user, item, _ in PAIRS], {"time_column": 3}, "all times in column time are equal"),
        ([(user, item, row) for row, (user, item, _) in enumerate(PAIRS)], {"time_column": 3}, "are in 1970"),
    ],
)  # fmt: skip
def test_what_is_odd_is_said_with_the_option_that_mends_it(tmp_path, pairs, options, says):
    header = "user,item" + (",time" if len(pairs[0]) > 2 else "")
    with pytest.warns(DataWarning) as caught:
        read(tmp_path / "log.csv", table(header=header, pairs=pairs), **options)
    assert any(re.search(says, str(warning.message)) for warning in caught), [str(warning.message) for warning in caught]


@pytest.mark.parametrize(("name", "says"), [("rating", "--min_rating 1"), ("label", "--min_rating 1"), ("quantity", "--net")])
def test_dislikes_that_nobody_asked_for_are_said(tmp_path, name, says):
    text = table(header=f"user,item,{name}", pairs=[(user, item, 1 if rating > 2 else -1) for user, item, rating in PAIRS])
    with pytest.warns(DataWarning, match=rf"\d+ values of column {name} are 0 or less, .*{says}"):
        read(tmp_path / "log.csv", text)
    frame = pl.read_csv(tmp_path / "log.csv").with_columns(pl.col(name) > 0)
    if name != "quantity":
        with pytest.warns(DataWarning, match="are 0 or less"):
            read_log(frame, DataOptions())


def test_values_below_0_of_a_matrix_are_said():
    with pytest.warns(DataWarning, match=r"the matrix: 2 values below 0 count as liked items; .*min_rating"):
        read_log(sp.csr_matrix(np.array([[1, -1], [-1, 1]])), DataOptions())


def test_what_was_read_is_said_also_when_the_split_fails(tmp_path):
    (tmp_path / "log.csv").write_text(table(header="", pairs=[(row, item) for row, (_, item, _) in enumerate(PAIRS)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        with pytest.raises(DataError, match=r"finds none of 72 pairs .* \(read from .*log.csv: all 72 rows, no header.*users in column 1"):
            load_dataset(tmp_path / "log.csv")
        heard = []
        with pytest.raises(DataError, match="finds none of 72 pairs") as caught:
            load_dataset(tmp_path / "log.csv", tell=heard.append)
    assert "read from" not in str(caught.value)
    assert heard[0].endswith("users in column 1, items in column 2; 72 users x 8 items")


# ------------------------------------------------------------------ titles


def test_movielens_100k_as_it_is_downloaded(tmp_path):
    home = tmp_path / "ml-100k"
    home.mkdir()
    (home / "u.data").write_text("".join(f"{user}\t{item}\t{rating}\t{881250949 + user * 1000 + item}\n" for user, item, rating in PAIRS))
    (home / "u.item").write_bytes(
        "".join(f"{item}|{TITLES[item - 1]} (1995)|01-Jan-1995||http://x.org/{item}|0|1\n" for item in range(1, 9)).encode("latin-1")
    )
    for name, text in (("u.user", "1|24|M|technician|85711\n"), ("u.genre", "unknown|0\n"), ("u.info", "943 users\n"),
                       ("u1.base", "1\t1\t5\t8\n"), ("u1.test", "1\t6\t5\t8\n"), ("README", "read me"), ("allbut.pl", "#!/usr/bin/perl\n")):  # fmt: skip
        (home / name).write_text(text)
    for source, titles in ((home, None), (home / "u.data", home / "u.item")):
        data = quietly(load_dataset, source, titles=titles, split="last")
        assert data.item_titles.tolist() == [f"{title} (1995)" for title in TITLES]
        assert (data.train.num_users, data.train.num_items) == (NUM_USERS, NUM_ITEMS)


def test_movielens_1m_as_it_is_downloaded(tmp_path):
    home = tmp_path / "ml-1m"
    home.mkdir()
    (home / "ratings.dat").write_text(
        "".join(f"{user}::{item}::{rating}::{978300760 + user * 1000 + item}\n" for user, item, rating in PAIRS)
    )
    (home / "movies.dat").write_bytes(
        "".join(f"{item}::{TITLES[item - 1]} (1995)::Drama|Comedy\n" for item in range(1, 9)).encode("latin-1")
    )
    (home / "users.dat").write_text("1::F::1::10::48067\n")
    (home / "README").write_text("read me")
    data = quietly(load_dataset, home, split="time", min_rating=2)
    assert "Café Noir (1995)" in data.item_titles.tolist()


def test_titles_that_nobody_asked_for_never_stop_a_log(tmp_path):
    (tmp_path / "ratings.csv").write_text(table())
    (tmp_path / "movies.csv").write_bytes(b"\x80\x04 no titles at all")
    with pytest.warns(DataWarning, match="is a pickle; .*the data set has no titles now"):
        data = load_dataset(tmp_path)
    assert data.item_titles is None
    with pytest.raises(DataError, match="is a pickle"):
        load_dataset(tmp_path / "ratings.csv", titles=tmp_path / "movies.csv")


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{item},{1970 + item},{title}{', the Second Part' if item % 3 == 0 else ''}\n" for item, title in enumerate(TITLES, 1)),
        "".join(f"{title};{item};x\n" for item, title in enumerate(TITLES, 1)),
        "id\tlabel\n" + "".join(f"{item}\t{title}\n" for item, title in enumerate(TITLES, 1)),
        "item_id,url,title\n" + "".join(f" {item}.0,http://x/{item},{title}\n" for item, title in enumerate(TITLES, 1)),
        "\n".join(json.dumps({"item_id": item, "title": title}) for item, title in enumerate(TITLES, 1)),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*were compared without these")
def test_titles_find_their_own_separator_columns_and_encoding(tmp_path, text):
    (tmp_path / "log.csv").write_text(table(";"))
    for encoding in ("utf-8", "latin-1"):
        if encoding == "latin-1" and text.startswith("{"):
            continue
        (tmp_path / "titles.csv").write_bytes(text.encode(encoding))
        titles = load_dataset(tmp_path / "log.csv", titles=tmp_path / "titles.csv", separator=";").item_titles
        assert [title.split(",")[0] for title in titles] == TITLES


def test_korean_titles_are_told_from_western_ones(tmp_path):
    (tmp_path / "log.csv").write_text(table())
    (tmp_path / "titles.csv").write_bytes(("item_id,제목\n" + "".join(f"{item},영화 {item}\n" for item in range(1, 9))).encode("cp949"))
    assert load_dataset(tmp_path / "log.csv", titles=tmp_path / "titles.csv").item_titles[0] == "영화 1"


# ------------------------------------------------------------------ bounds


def test_many_columns_and_many_blank_lines_are_read_in_time(tmp_path):
    wide = ",".join(["user_id", "item_id", *(f"c{number}" for number in range(20_000))]) + "\n"
    text = wide + "".join(f"{row % 5},{row}" + ",1" * 20_000 + "\n" for row in range(15))
    assert len(read(tmp_path / "wide.csv", text).users) == 15
    blank = b"user_id,item_id\n1,2\n" + b"\n" * 2_000_000 + b"2,3\n"
    assert rows_of(read(tmp_path / "blank.csv.gz", gzip.compress(blank))) == [(1, 2), (2, 3)]
    assert rows_of(read(tmp_path / "late.csv", "\n" * 5_000 + table())) == NUMBERS
    refused("is empty", tmp_path / "nothing.csv.gz", gzip.compress(b"\n" * 3_000_000))


def test_the_suffix_of_a_packed_file_is_that_of_what_is_in_it(tmp_path):
    assert [suffix_of(tmp_path / name) for name in ("a.csv", "a.csv.gz", "a.CSV.bz2", "a.gz", "a", "a.b.tsv.xz")] == [
        ".csv", ".csv", ".csv", ".gz", "", ".tsv"
    ]  # fmt: skip


# ------------------------------------------------------------------ the command


def test_several_files_and_a_bare_net_are_typed_as_they_come(tmp_path, monkeypatch, capsys):
    from ultragcn.cli import main

    monkeypatch.chdir(tmp_path)
    lines = table(header="user_id,item_id,quantity").splitlines(keepends=True)
    for number in range(2):
        (tmp_path / f"log{number}.csv").write_text("".join([lines[0], *lines[1 + number :: 2]]))
    words = ["--epochs", "1", "--embedding_dim", "4", "--quiet", "--keep", "measured", "--out", "run", "--net", "--where", "quantity < 5"]
    assert main(["train", "--dataset", "log0.csv", "log1.csv", *words]) == 0
    kept = sum(rating < 5 for *_, rating in PAIRS)
    said = capsys.readouterr().err
    assert f"log0.csv and 1 more file: {kept} of {kept} rows after returns; where quantity < 5: {kept} of {N} rows" in said
    assert main(["evaluate", "run"]) == 0
    (tmp_path / "log1.csv").unlink()
    assert main(["evaluate", "run"]) == 2
    assert "log1.csv, which is gone; put it back" in capsys.readouterr().err
    assert main(["train", "--dataset", "log0.csv", "--where", "nothing = 1", "--out", "other"]) == 2
    assert "no column 'nothing' for where (it has user_id, item_id, quantity)" in capsys.readouterr().err


def test_what_was_read_comes_before_the_reason_why_it_cannot_be_split(tmp_path, capsys):
    from ultragcn.cli import main

    (tmp_path / "log.csv").write_text(table(header="", pairs=[(row, item) for row, (_, item, _) in enumerate(PAIRS)]))
    assert main(["train", "--dataset", str(tmp_path / "log.csv"), "--header", "no", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("users in column 1, items in column 2; 72 users x 8 items")
    assert "warning: " in said[1]
    assert "no user of column 1 appears twice" in said[1]
    assert "finds none of 72 pairs to hold out" in said[-1]


def test_a_misspelt_file_gets_the_name_of_the_one_beside_it(tmp_path):
    (tmp_path / "shop.csv").write_text("user,item\n1,2\n")
    with pytest.raises(UsageError, match=r"shp\.csv is not a file or a folder; did you mean shop\.csv\?$"):
        load_dataset(tmp_path / "shp.csv")
