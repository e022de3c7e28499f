"""Files and frames as tables: one row an interaction, columns found by their names.

Text files are scanned by polars, never read whole: every cell is text, so that `007` stays `007`. Rows are counted from 1 as an
editor would, the header and blank rows included; a quoted cell over several lines is one row.
"""

import csv
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ultragcn.data.options import DataOptions
from ultragcn.errors import DataError

ROW = "row\0"
"""Name of the column of row numbers, which no file has; null where a row has more cells than the first."""

# What columns are called in public data sets and in Korean, without case and punctuation; the first that is there is taken.
_KNOWN = {
    "user": ("userid", "user", "uid", "useridx", "customerid", "customer", "customername", "memberid", "member", "accountid", "account",
             "clientid", "client", "visitorid", "visitor", "reviewerid", "reviewer", "personid", "person", "profileid", "listener",
             "sessionid", "session", "username", "사용자id", "사용자", "유저id", "유저", "회원id", "회원번호", "회원", "고객id", "고객번호",
             "고객", "이용자id", "이용자"),
    "item": ("itemid", "item", "iid", "itemidx", "movieid", "movie", "productid", "product", "asin", "parentasin", "stockcode", "sku",
             "bookid", "book", "isbn", "trackid", "track", "songid", "song", "artistid", "artist", "albumid", "album", "videoid", "video",
             "gameid", "game", "articleid", "article", "newsid", "businessid", "business", "venueid", "locationid", "recipeid",
             "contentid", "animeid", "itemname", "productname", "아이템id", "아이템", "상품id", "상품번호", "상품코드", "상품",
             "제품id", "제품", "품목코드", "품목", "영화id", "영화", "도서id", "도서", "콘텐츠id", "콘텐츠", "상품명", "제품명"),
    "rating": ("rating", "ratings", "score", "stars", "overall", "bookrating", "reviewscore", "weight", "playcount", "plays", "count",
               "평점", "별점", "점수", "수량"),
    "time": ("timestamp", "time", "datetime", "date", "ts", "unixtime", "unixreviewtime", "eventtime", "createdat", "reviewtime",
             "ratingtime", "watchedat", "purchasedat", "orderdate", "invoicedate", "시각", "시간", "일시", "날짜", "일자",
             "구매일", "구매일자", "구매일시", "주문일", "주문일자", "주문일시", "등록일"),
    "title": ("title", "itemtitle", "movietitle", "booktitle", "producttitle", "name", "itemname", "productname", "moviename", "songname",
              "trackname", "artistname", "description", "제목", "이름", "상품명", "제품명", "영화제목", "도서명"),
}  # fmt: skip
# Places of the columns in a file without header: user, item, rating, time, as in MovieLens.
_PLACES = {"user": 0, "item": 1, "rating": 2, "time": 3}

_COMPRESSED = (".gz", ".zst")
_SEPARATORS = {".csv": (",", ";", "\t", "|"), ".tsv": ("\t",), ".inter": ("\t",), ".item": ("\t",)}
_ANY_SEPARATOR = ("::", "\t", ",", ";", "|")
# RecBole's header says the kind of each column: user_id:token, rating:float.
_TYPED_NAME = re.compile(r"(.+):(?:token|float|token_seq|float_seq)")
_HEAD_ROWS = 100
_FAULT_BLOCK = 1 << 16  # lines looked at together


@dataclass(frozen=True)
class Table:
    """A table that has not been read yet: its rows as a polars plan, and where they come from."""

    name: str
    """The file, for messages."""
    rows: pl.LazyFrame
    """All columns, and ROW: the number of each row."""
    names: tuple[str, ...]
    """The columns by name; in a file without header `1`, `2`, ..."""
    has_header: bool
    path: Path | None = None
    separator: str = ""

    def find(self, role: str, given: str = "") -> str:
        """Return the name of the column that holds the users, items, ratings, times or titles: the one `given`, else by its name.

        Raises
        ------
        DataError
            There is no such column, or nothing tells which it is.
        """
        if given:
            if given in self.names:
                return given
            if given.isdecimal() and 1 <= int(given) <= len(self.names):
                return self.names[int(given) - 1]
            raise DataError(f"{self.name} has no column {given!r}; give one of {self._listed()}, or a number from 1 to {len(self.names)}")
        if self.has_header:
            plain = {_plain(name): name for name in reversed(self.names)}
            found = next((plain[known] for known in _KNOWN[role] if known in plain), None)
            hint = ", or header=no (--header no) if the first row is data" if self.path else ""
        else:
            # The third of three columns may be ratings or times; only the user can tell.
            place = _PLACES.get(role, len(self.names))
            found = self.names[place] if place < len(self.names) and (role != "time" or len(self.names) >= len(_PLACES)) else None
            hint = ", or header=yes (--header yes) if the first row names the columns"
        if found is None:
            option = f"{role}_column (--{role}_column)"
            raise DataError(f"{self.name}: no telling which of the columns {self._listed()} holds the {role}s; give {option}{hint}")
        return found

    def collect(self, rows: pl.LazyFrame) -> pl.DataFrame:
        """Return the result of a plan made from `rows`, read block by block; what cannot be read is one sentence with its row."""
        try:
            return rows.collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self.fault(error) from error

    def place(self, row: int) -> str:
        """Return where a row is, for messages."""
        return f"{self.name}, row {row}"

    def cell(self, row: int, column: str) -> str:
        """Return the text of one cell, for messages."""
        found = self.collect(self.rows.filter(pl.col(ROW) == row).select(pl.col(column).cast(pl.String)))
        return str(found.item() or "")

    def blank_rows(self) -> list[int]:
        """Return the numbers of the rows in which nothing stands."""
        nothing = pl.all_horizontal(pl.col(name).is_null() for name in self.names)
        return self.collect(self.rows.filter(nothing).select(ROW))[ROW].to_list()

    def short_rows(self) -> tuple[int, int]:
        """Return how many rows have fewer cells than the first, and the number of the first such row: (0, 0) where there are none.

        Polars makes the same of a cell that is empty and of one that is not there, so the lines are looked at once more. Where a quoted
        cell runs over several lines, lines are no rows, and none is counted.
        """
        if self.path is None or not self.separator:
            return 0, 0
        line = pl.col("line").fill_null("").str.strip_suffix("\r")
        quoted = len(self.separator) == 1
        bare = line.str.replace_all('"[^"]*"', "") if quoted else line
        short = (line.str.strip_chars() != "") & (bare.str.count_matches(self.separator, literal=True) < len(self.names) - 1)
        lines = _scan_lines(self.path).with_row_index(ROW, offset=1).select(ROW, short=short, open=quoted & bare.str.contains('"'))
        found = self.collect(lines.select(pl.col("short").sum(), pl.col("open").any(), pl.col(ROW).filter("short").min()))
        count, over_several_lines, first = found.row(0)
        return (0, 0) if over_several_lines or not count else (count, first)

    def _listed(self) -> str:
        return ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")

    def fault(self, error: Exception | None = None) -> DataError:
        """Return the sentence for what polars could not read. It says what is wrong; here is looked up where."""
        try:
            found = _find_fault(self.path, self.separator) if self.path is not None else None
        except (pl.exceptions.PolarsError, OSError):  # a damaged archive has no rows to look at
            found = None
        if found is not None:
            return DataError(f"{self.place(found[0])}: {found[1]}")
        return DataError(f"cannot read {self.name}: {_reason(error) if error is not None else 'its rows differ in length'}")


def open_table(source: Any, options: DataOptions, expected: str = "one interaction a row") -> Table:
    """Return the table of a file (CSV, TSV, `::`, RecBole, Parquet; also gzip or zstd) or of a polars or pandas frame.

    `expected` is what an empty file should have had, for the message.

    Raises
    ------
    DataError
        The file is not there, is empty, is no text, or has a single column.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        return _open_parquet(path) if suffix_of(path) == ".parquet" else _open_text(path, options, expected)
    return _of_frame(source, "the frame")


def first_line(path: Path) -> str:
    """Return the first line of a text file that is not blank, without its line end."""
    return next(line for line in _head(path) if line.strip())


def is_frame(source: Any) -> bool:
    """Return whether `source` is a polars or pandas frame, or something that looks like one."""
    return isinstance(source, (pl.DataFrame, pl.LazyFrame)) or (hasattr(source, "columns") and hasattr(source, "dtypes"))


def suffix_of(path: Path) -> str:
    """Return the suffix of a file name without that of its compression, in small letters."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _plain(name: str) -> str:
    # Korean is written with whole syllables here, and in parts on some systems.
    return "".join(letter for letter in unicodedata.normalize("NFKC", name).lower() if letter.isalnum())


def _open_parquet(path: Path) -> Table:
    try:
        return _of_frame(pl.scan_parquet(path, glob=False), str(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot read {path}: {_reason(error)}") from error


def _of_frame(frame: Any, name: str) -> Table:
    """Return the table of a frame; a frame that is not polars' own is asked for its columns one by one."""
    if not isinstance(frame, (pl.DataFrame, pl.LazyFrame)):
        frame = pl.DataFrame({str(column): _column(frame[column], str(column)) for column in frame.columns})
    rows = frame.lazy()
    names = tuple(rows.collect_schema().names())
    return Table(name, rows.with_row_index(ROW, offset=1), names, has_header=True)


def _column(column: Any, name: str) -> pl.Series:
    """Return a column of a pandas frame; one of integers and floats becomes floats, one of other kinds mixed strings."""
    missing = column.isna().to_numpy()
    # As objects where cells are missing: pandas would make numbers of a column of integers floats.
    values = column.to_numpy(dtype=object) if missing.any() else column.to_numpy()
    if values.dtype != object:
        return pl.Series(name, values)
    cells = [None if gone else cell for cell, gone in zip(values.tolist(), missing.tolist(), strict=True)]
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds == {int, float}:
        return pl.Series(name, cells, dtype=pl.Float64, strict=False)
    if len(kinds) > 1:
        cells = [None if cell is None else str(cell) for cell in cells]
    return pl.Series(name, cells)


def _open_text(path: Path, options: DataOptions, expected: str) -> Table:
    lines = _head(path, expected)
    blank = next(number for number, line in enumerate(lines) if line.strip())
    separator = "\t" if options.separator == "tab" else options.separator or _find_separator(path, lines[blank])
    if len(separator) == 1:
        rows = _scan(path, separator=separator, skip_lines=blank).with_row_index(ROW, offset=1 + blank)
    else:
        rows = _scan_words(path, separator, blank, width=lines[blank].count(separator) + 1)
    unnamed = Table(str(path), rows, (), has_header=False, path=path, separator=separator)
    head = unnamed.collect(rows.head(_HEAD_ROWS)).drop(ROW)
    if head.height == 0:
        raise unnamed.fault()
    if head.width < 2:
        with_it = f"with separator {options.separator!r} " if options.separator else ""
        instead = "another separator, or none to have it found" if options.separator else "the separator that stands between its cells"
        raise DataError(f"{with_it}{path} has a single column ({lines[blank].strip()[:40]!r}); give {instead}")
    names = [" ".join((cell or "").split()) for cell in head.row(0)]
    if all(_TYPED_NAME.fullmatch(name) for name in names):
        names, has_header = [name.rsplit(":", 1)[0] for name in names], True
    else:
        has_header = _has_header(head, options)
    if has_header:
        rows = rows.filter(pl.col(ROW).fill_null(0) != 1 + blank)
        names = [name if name and names.index(name) == place else f"{name}#{place + 1}" for place, name in enumerate(names)]
    else:
        names = [str(number) for number in range(1, head.width + 1)]
    rows = rows.rename(dict(zip(head.columns, names, strict=True)))
    return Table(str(path), rows, tuple(names), has_header, path, separator)


def _scan(path: Path, **how: Any) -> pl.LazyFrame:
    return pl.scan_csv(path, has_header=False, infer_schema=False, glob=False, **how)


def _scan_lines(path: Path, **how: Any) -> pl.LazyFrame:
    # A separator and quotes that no text has: each line is one cell.
    return pl.scan_csv(path, has_header=False, schema={"line": pl.String}, separator="\x01", quote_char=None, glob=False, **how)


def _scan_words(path: Path, separator: str, blank: int, width: int) -> pl.LazyFrame:
    """Return the rows of a file whose separator has several characters; polars itself splits at single ones only."""
    words = pl.col("line").str.strip_suffix("\r").str.splitn(separator, width)
    names = [f"column_{number}" for number in range(1, width + 1)]
    too_long = pl.col(names[-1]).str.contains(separator, literal=True).fill_null(False)
    return (
        _scan_lines(path, skip_lines=blank)
        .with_row_index(ROW, offset=1 + blank)
        .select(ROW, words.struct.rename_fields(names).struct.unnest())
        .with_columns(pl.when(~too_long).then(pl.col(ROW)).alias(ROW), *(pl.col(name).replace("", None) for name in names))
    )


def require_file(path: Path, what: str = "a file") -> None:
    """Raise `DataError` where `path` is a folder, or a pipe: files are looked at before they are read, and a pipe gives its bytes once."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; give {what}")
    if path.is_fifo():
        raise DataError(f"{path} is a pipe, which can be read only once; write what comes out of it to a file and give that")


def _head(path: Path, expected: str = "one interaction a row") -> list[str]:
    """Return the first lines of a text file, compressed or not."""
    try:
        lines = _scan_lines(path, encoding="utf8-lossy", truncate_ragged_lines=True).head(_HEAD_ROWS).collect()["line"].to_list()
    except pl.exceptions.NoDataError:
        lines = []
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot read {path}: {_reason(error)}") from error
    texts = [line or "" for line in lines]
    if any("\0" in line for line in texts):
        raise DataError(f"cannot read {path}: it is no UTF-8 text; give CSV, TSV, ::, RecBole or Parquet, also .gz or .zst")
    first = next((line for line in texts if line.strip()), None)
    if first is None:
        raise DataError(f"{path} is empty; expected {expected}")
    if "\r" in first.rstrip("\r"):
        raise DataError(f"cannot read {path}: a carriage return inside its first line; end lines with LF or CRLF")
    return texts


def _find_separator(path: Path, line: str) -> str:
    """Return the separator that stands in `line`, outside quotes: the first of those the suffix allows."""
    bare = re.sub(r'"[^"]*"', "", line)
    allowed = _SEPARATORS.get(suffix_of(path), _ANY_SEPARATOR)
    return next((separator for separator in allowed if separator in bare), allowed[0])


def _has_header(head: pl.DataFrame, options: DataOptions) -> bool:
    """Return whether the first row names the columns.

    It does if a column that was asked for is there by name, or a cell is a common name for users or items, or a column holds
    numbers in all rows but the first.
    """
    if options.header != "auto":
        return options.header == "yes"
    first = [(cell or "").strip() for cell in head.row(0)]
    asked = {options.user_column, options.item_column, options.rating_column, options.time_column} - {""}
    if any(name in first for name in asked if not name.isdecimal()):
        return True
    if any(_plain(name) in (*_KNOWN["user"], *_KNOWN["item"]) for name in first):
        return True
    numbers = [head[column].cast(pl.Float64, strict=False).is_not_null() for column in head.columns]
    return head.height > 1 and not any(column[0] for column in numbers) and any(column[1:].all() for column in numbers)


def _find_fault(path: Path, separator: str) -> tuple[int, str] | None:
    """Return the number of the first row that is no row, and what is wrong with it; None when all are."""
    quoted = len(separator) == 1
    whole_cell = re.compile(rf'(?:^|(?<={re.escape(separator)}))"(?:[^"]|"")*"(?={re.escape(separator)}|$)')
    opened = re.compile(rf'(?:^|{re.escape(separator)})"[^"]*(?:""[^"]*)*$')
    row, record, first_width = 0, "", 0
    for batch in _scan_lines(path, encoding="utf8-lossy", truncate_ragged_lines=True).collect_batches(chunk_size=_FAULT_BLOCK):
        for line in batch["line"].to_list():
            text = (line or "").removesuffix("\r")
            if not record:
                row += 1
            if "\ufffd" in text:
                return row, f"{text[:60]!r} is not UTF-8; convert the file to UTF-8"
            if quoted and record:
                record += "\n" + text
            elif quoted and text.count('"') % 2:
                if not opened.search(whole_cell.sub("", text)):
                    return row, f"{text[:60]!r} has a quote inside a cell; quote the whole cell and double the quotes in it"
                record = text
            else:
                record = text
            if quoted and record.count('"') % 2:
                continue
            try:
                cells = next(csv.reader(record.splitlines(keepends=True), delimiter=separator, strict=True), []) if quoted else []
            except csv.Error:
                return row, f"{record[:60]!r} has a quote inside a cell; quote the whole cell and double the quotes in it"
            width = len(cells) if quoted else record.count(separator) + 1
            first_width = first_width or width
            if width > first_width:
                return row, f"{width} cells, where the first row has {first_width}; quote cells in which the separator stands"
            record = ""
    if not record:
        return None
    return row, f"a quote is opened and never closed: {record[:60]!r}; close it, or double a quote that belongs to the text"


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = _first_line(error)
    return f"{said}: it is cut short; fetch or copy it again" if "unexpected end of file" in said else said


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
