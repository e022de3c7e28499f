"""Files of every format and with every option, thousands of them, made from a seed: read to the last row, or refused in one sentence.

    python benchmarks/fuzz_reading.py [--files 6000] [--seed 0]

Each file is made from rows that are known, written in one of the formats in one of many dialects. Half of them are then damaged: bytes
that are no UTF-8, stray quotes, cut ends, flipped bits, lines of something else. Of a file that was not damaged the rows that are read
must be those that were written; of one that was, the outcome must be a log or an error of the library: one line, without a word of the
libraries underneath. Anything else is printed with its seed, and the exit status is 1.
"""

import argparse
import bz2
import csv
import gzip
import io
import json
import lzma
import random
import re
import sqlite3
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ultragcn.data.log import read_log
from ultragcn.data.options import DataOptions
from ultragcn.errors import UltraGCNError

FORMATS = ("csv", "tsv", "semicolons", "pipes", "colons", "blanks", "jsonl", "json", "parquet", "sqlite", "parts", "zip", "user lines")
PACKED = {"": lambda data: data, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
FOREIGN = re.compile(
    r"Traceback|polars|numpy|ComputeError|dtype|infer_schema|truncate_ragged|ignore_errors|pyo3|panicked|codec can|Errno|object at 0x|"
    r"ShapeError|SchemaError|ColumnNotFound|NoneType|has no attribute|positional|Expr\b|LazyFrame|__\w+__|sqlite3\.|thrift|"
    r"EOFError|zlib|BadZip|Not a gzipped"
)
"""Words that only the libraries underneath say."""


@dataclass
class Case:
    """A file, the options to read it with, and what must come out; `expected` is None where only the form of the outcome is known."""

    place: Any
    options: dict[str, Any] = field(default_factory=dict)
    expected: Counter | None = None
    about: str = ""


def rows_of(chance: random.Random) -> list[dict[str, Any]]:
    """Return made-up rows; ids are numbers, text, or text with all that CSV has signs for."""
    kind = chance.choice(("numbers", "padded", "letters", "odd"))
    pool = {
        "numbers": [str(number) for number in range(1, 40)],
        "padded": [f"{number:04d}" for number in range(1, 40)],
        "letters": [f"{letter}{number}" for letter in "abç한" for number in range(9)],
        "odd": ["say x", "O'Neil", "a-b", "Zoë", "이수", "x#1", "=1+1", "e=mc2", "\U0001f600", "-7", "+7", "1e3", "0", "007"],
    }[kind]
    return [
        {
            "user_id": chance.choice(pool), "item_id": chance.choice(pool), "rating": chance.choice((1, 2, 2.5, 4, 5)),
            "time": 1_500_000_000 + chance.randrange(10**8), "event": chance.choice(("view", "buy")), "quantity": chance.choice((1, 2, -1)),
        }
        for _ in range(chance.randrange(2, 60))
    ]  # fmt: skip


def delimited(rows: list[dict[str, Any]], chance: random.Random, separator: str, header: bool) -> str:
    """Return rows as text, quoted in one of the ways that csv knows."""
    newline = chance.choice(("\n", "\r\n"))
    if len(separator) > 1 or separator == " ":
        lines = [list(rows[0]), *(row.values() for row in rows)] if header else [row.values() for row in rows]
        return newline.join(separator.join(str(cell) for cell in line) for line in lines) + newline
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=newline, quoting=chance.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
    writer.writerows([list(rows[0])] if header else [])
    writer.writerows(row.values() for row in rows)
    return text.getvalue() + chance.choice(("", newline, newline * 3))


def text_case(kind: str, rows: list[dict[str, Any]], chance: random.Random, folder: Path) -> Case:
    """Write a file of delimited text."""
    separator, suffix = {"csv": (",", ".csv"), "tsv": ("\t", ".tsv"), "semicolons": (";", ".csv"), "pipes": ("|", ".dat"),
                         "colons": ("::", ".dat"), "blanks": (" ", ".txt")}[kind]  # fmt: skip
    options: dict[str, Any] = {}
    if separator == " ":
        rows = [row for row in rows if " " not in row["user_id"] + row["item_id"]]
    header = chance.random() < 0.6 or separator == " "
    if len(rows) < 3:
        rows, header = [*rows, *({"user_id": "u", "item_id": f"i{n}", "rating": 1, "time": 1_500_000_000, "event": "buy", "quantity": 1}
                                 for n in range(3))], True  # fmt: skip
    text = delimited(rows, chance, separator, header)
    if not header:
        options["header"] = "no"
    if chance.random() < 0.3:
        options["separator"] = {"\t": "tab", " ": "blank"}.get(separator, separator)
    if len(separator) == 1 and separator != " " and chance.random() < 0.1:
        text = f"sep={separator}\n{text}" if "separator" not in options else text
    if chance.random() < 0.1:
        text, options["skip_rows"] = "some words\nand more words\n" + text, 2
    if chance.random() < 0.1 and "skip_rows" not in options:
        text, options["comment"] = "%% a note\n" + text.replace("\n", "\n%% a note\n", 2), "%%"
    encoding = chance.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp949", "utf-8"))
    try:
        content = text.encode(encoding)
    except UnicodeEncodeError:
        encoding, content = "utf-8", text.encode()
    if encoding == "cp949" and not text.isascii():
        options["encoding"] = encoding
    packed = chance.choice(list(PACKED))
    place = folder / f"log{suffix}{packed}"
    place.write_bytes(PACKED[packed](content))
    named = ("user_id", "item_id") if header else ("1", "2")
    return narrowed(Case(place, options, None, f"{kind} {encoding} {packed}"), rows, chance, header, named)


def narrowed(case: Case, rows: list[dict[str, Any]], chance: random.Random, header: bool, named: tuple[str, str]) -> Case:
    """Add options that choose rows, and say what then must come out."""
    case.options |= {"blanks": "keep", "user_column": named[0], "item_column": named[1]}
    kept = rows
    if chance.random() < 0.3:
        least = chance.choice((2, 3))
        case.options |= {"min_rating": least} | ({} if header else {"rating_column": "3"})
        kept = [row for row in kept if row["rating"] >= least]
    if chance.random() < 0.2:
        case.options |= {"where": "event = 'buy'" if header else "\"5\" = 'buy'"}
        kept = [row for row in kept if row["event"] == "buy"]
    if chance.random() < 0.2:
        case.options |= {"time_column": "time" if header else "4"}
    if chance.random() < 0.15:
        case.options |= {"net": True, "quantity_column": "quantity" if header else "6"}
        sums: Counter = Counter()
        for row in kept:
            sums[row["user_id"], row["item_id"]] += row["quantity"]
        kept = [row for row in kept if row["quantity"] > 0 and sums[row["user_id"], row["item_id"]] > 0]
    case.expected = Counter((row["user_id"], row["item_id"]) for row in kept)
    return case


def made_case(rows: list[dict[str, Any]], chance: random.Random, folder: Path) -> Case:
    """Write a file of any format."""
    kind = chance.choice(FORMATS)
    names = ("user_id", "item_id")
    if kind in ("csv", "tsv", "semicolons", "pipes", "colons", "blanks"):
        return text_case(kind, rows, chance, folder)
    if kind == "user lines":
        numbers = [(row % 7, chance.randrange(99)) for row in range(30)]
        lines = {user: [item for one, item in numbers if one == user] for user in range(7)}
        (folder / "train.txt").write_text("".join(f"{user} {' '.join(map(str, items))}\n" for user, items in lines.items()))
        return Case(folder / "train.txt", {}, Counter((str(user), str(item)) for user, item in numbers), kind)
    if kind in ("jsonl", "json"):
        text = json.dumps(rows, indent=chance.choice((None, 1))) if kind == "json" else "\n".join(json.dumps(row) for row in rows)
        packed = chance.choice(list(PACKED))
        (folder / f"log.{kind}{packed}").write_bytes(PACKED[packed](text.encode()))
        return narrowed(Case(folder / f"log.{kind}{packed}", {}, None, kind + packed), rows, chance, True, names)
    if kind == "parquet":
        pl.DataFrame(rows, schema_overrides={"rating": pl.Float64}).write_parquet(folder / "log.parquet")
        return narrowed(Case(folder / "log.parquet", {}, None, kind), rows, chance, True, names)
    if kind == "sqlite":
        with sqlite3.connect(folder / "log.sqlite") as opened:
            opened.execute("CREATE TABLE log (user_id TEXT, item_id TEXT, rating REAL, time INT, event TEXT, quantity INT)")
            opened.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", [tuple(row.values()) for row in rows])
        opened.close()
        return narrowed(Case(folder / "log.sqlite", {}, None, kind), rows, chance, True, names)
    pieces = [part for part in (rows[0::2], rows[1::2]) if part]
    if kind == "parts":
        for number, part in enumerate(pieces):
            (folder / f"part-{number:05d}.csv").write_text(delimited(part, chance, ",", True))
        return narrowed(Case(folder, {}, None, kind), rows, chance, True, names)
    with zipfile.ZipFile(folder / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/ratings.csv", delimited(rows, chance, ",", True))
        archive.writestr("a/README.txt", "read me")
    return narrowed(Case(folder / "log.zip", {}, None, kind), rows, chance, True, names)


def damaged(case: Case, chance: random.Random) -> Case:
    """Damage a file, so that only the form of the outcome is known."""
    place = case.place if Path(case.place).is_file() else sorted(Path(case.place).iterdir())[0]
    content = bytearray(place.read_bytes())
    at = chance.randrange(len(content) + 1)
    way = chance.choice(("cut", "flip", "insert", "insert", "insert", "repeat", "options"))
    if way == "cut":
        del content[at:]
    elif way == "flip" and content:
        for _ in range(chance.randrange(1, 9)):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif way == "insert":
        content[at:at] = chance.choice((b'"', b"\xff\xfe", b"\0", b"\xc3", b"\r", b'""', b",", b"\t", b"\xed\xa0\x80", b"{", b"'", b"\n\n",
                                        b"1,2,3\n",
                                        b"\x1a", b"\\ud800", b"PAR1", b"user_id,item_id\n", b"nan", b"a" * 70_000))  # fmt: skip
    elif way == "repeat":
        content[at:at] = content[: chance.randrange(200)]
    case.options |= chance.choice(({}, {}, *STRANGE))
    place.write_bytes(bytes(content))
    case.expected = None
    case.about += f", {way}"
    return case


STRANGE: tuple[dict[str, Any], ...] = (
    {"where": "rating > 'x'"}, {"where": "user_id LIKE '%"}, {"where": "nothing = 1"}, {"where": "rating / 0 > 1"},
    {"where": "upper(event)"},
    {"where": "CAST(user_id AS INT) > 3"}, {"where": "event REGEXP '['"}, {"where": "sum(rating) > 3"}, {"encoding": "utf-16"},
    {"encoding": "cp1252"}, {"encoding": "shift_jis"}, {"encoding": "utf-7"}, {"quote": "none"}, {"quote": "'"}, {"comment": "1"},
    {"skip_rows": 3}, {"separator": "::"}, {"separator": "é"}, {"separator": ";"}, {"item_list": "blank"}, {"item_list": ","},
    {"missing": "skip"},
    {"missing": "skip", "blanks": "drop"}, {"header": "yes"}, {"header": "no"}, {"table": "nothing"}, {"decimal": ",", "min_rating": 1},
    {"split": "time"}, {"split": "time", "time_format": "%d/%m/%Y"}, {"time_column": "rating,time"}, {"net": True},
    {"rating_column": "event", "min_rating": 1},
    {"user_column": "99"}, {"user_column": "1", "item_column": "1"}, {"skip_rows": 10_000}, {"quote": "é"},
)  # fmt: skip


def problem_with(case: Case) -> str | None:
    """Read a file, and return what is wrong with the outcome; None where nothing is."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            log = read_log(case.place, DataOptions().replace(**case.options))
        said = [str(warning.message) for warning in caught]
    except UltraGCNError as error:
        said, log = [str(error)], None
    except BaseException as error:  # what must not happen is what is looked for
        return f"{type(error).__name__}: {error}"
    for sentence in said:
        # Cells of the file stand in quotes, and may hold anything.
        if "\n" in sentence or FOREIGN.search(re.sub(r"'[^']*'|\"[^\"]*\"", "", sentence)):
            return f"a foreign sentence: {sentence}"
    if case.expected is None:
        return None
    if log is None:
        return None if not case.expected and "has no interactions" in said[0] else f"refused: {said[0]}"
    users, items = (map(str, ids.ids[rows].tolist()) for ids, rows in ((log.user_ids, log.users), (log.item_ids, log.items)))
    found = Counter(zip(users, items, strict=True))
    if found != case.expected:
        return f"{sum(found.values())} rows in place of {sum(case.expected.values())}: {list((found - case.expected).items())[:2]}"
    return None


def main(files: int, seed: int) -> int:
    """Make and read the files; return the exit status."""
    outcomes: Counter = Counter()
    for number in range(files):
        chance = random.Random(f"{seed} {number}")
        with tempfile.TemporaryDirectory() as folder:
            case = made_case(rows_of(chance), chance, Path(folder))
            if number % 2:
                case = damaged(case, chance)
            problem = problem_with(case)
        kind = case.about.split(" ")[0].split(",")[0].split(".")[0]
        outcomes[kind, "wrong" if problem else "right"] += 1
        if problem:
            print(f"{number}: {case.about} {case.options}: {problem[:400]}", flush=True)
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind}\t{outcome}\t{count}")
    wrong = sum(count for (_, outcome), count in outcomes.items() if outcome == "wrong")
    print(f"{files} files, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.exit(main(arguments.files, arguments.seed))
