"""Text files as tables. They are scanned by polars, never read whole: every cell is text, so that `007` stays `007`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ultragcn.data.containers import Ready
from ultragcn.data.dialects import BLANKS, Dialect, dialect_of, distinct_names, header_of
from ultragcn.data.options import DataOptions, option
from ultragcn.errors import DataError
from ultragcn.lazily import pl

ROW = "row\0"
"""Name of the column of row numbers, which no file has; null where a row has more cells than the first."""
HEAD_ROWS = 100
_MOST_BLANK_LINES = 100_000


@dataclass(frozen=True)
class Text:
    """A text file and how it is written."""

    path: Path
    name: str
    dialect: Dialect
    width: int
    """Cells of the first row."""
    lossy: bool = False
    """Whether bytes that are not UTF-8 are read as U+FFFD in place of being refused."""
    rest: bool = False
    """Whether the last cell of a line is all that is left of it."""

    @property
    def by_polars(self) -> bool:
        """Whether polars itself can split the rows: at a single character of ASCII."""
        return len(self.dialect.separator.encode()) == 1 and not self.rest

    @property
    def quoted(self) -> bool:
        """Whether cells may stand in quotes."""
        return self.by_polars and self.dialect.quote is not None

    def rows(self) -> pl.LazyFrame:
        """Return the rows, their cells as text in columns `column_0`, ..., and ROW, from 1 as an editor counts lines."""
        how: dict[str, Any] = {"skip_lines": self.dialect.start, "encoding": "utf8-lossy" if self.lossy else "utf8"}
        if self.by_polars:
            rows = pl.scan_csv(
                self.path, has_header=False, infer_schema=False, glob=False, separator=self.dialect.separator,
                quote_char=self.dialect.quote, comment_prefix=self.dialect.comment, **how,
            )  # fmt: skip
            return rows.with_row_index(ROW, offset=1 + self.dialect.start)
        return self._split(scan_lines(self.path, comment_prefix=self.dialect.comment, **how))

    def lines(self) -> pl.LazyFrame:
        """Return the lines, unsplit, with ROW, beginning with the first row."""
        lines = scan_lines(self.path, comment_prefix=self.dialect.comment, skip_lines=self.dialect.start, encoding="utf8-lossy",
                           truncate_ragged_lines=True)  # fmt: skip
        return lines.with_row_index(ROW, offset=1 + self.dialect.start)

    def _split(self, lines: pl.LazyFrame) -> pl.LazyFrame:
        """Return the cells of lines between which several characters stand; polars itself splits at single ones only."""
        separator, line = self.dialect.separator, pl.col("line").str.strip_suffix("\r")
        if separator == BLANKS:
            separator, line = "\x01", line.str.strip_chars(" \t").str.replace_all(r"[ \t]+", "\x01")
        cells = [f"column_{number}" for number in range(self.width)]
        too_long = pl.col(cells[-1]).str.contains(separator, literal=True).fill_null(False) if not self.rest else pl.lit(False)
        return (
            lines.with_row_index(ROW, offset=1 + self.dialect.start)
            .select(ROW, line.str.splitn(separator, self.width).struct.rename_fields(cells).struct.unnest())
            .with_columns(pl.when(~too_long).then(pl.col(ROW)).alias(ROW), *(pl.col(cell).replace("", None) for cell in cells))
        )

    def letters(self) -> Text:
        """Return the same file, quotes read as letters."""
        return replace(self, dialect=replace(self.dialect, quote=None))


def scan_lines(path: Path, **how: Any) -> pl.LazyFrame:
    """Return the lines of a text file as the column `line`."""
    # A separator and quotes that no text has: each line is one cell.
    return pl.scan_csv(path, has_header=False, schema={"line": pl.String}, separator="\x01", quote_char=None, glob=False, **how)


def first_lines(ready: Ready, expected: str, more: int = 0) -> list[str]:
    """Return the first lines of a text file, `more` of them beside those that are looked at.

    Raises
    ------
    DataError
        The file has only blanks, or its content is not text.
    """
    name = ready.name
    try:
        lines = _lines_of(ready.path, HEAD_ROWS + more)
        if lines and not any(map(str.strip, lines)):
            lines = _lines_of(ready.path, HEAD_ROWS + _blank_lines(ready.path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot read {name}: {damage(error)}") from error
    if any("\0" in line for line in lines):
        raise DataError(f"cannot read {name}: it is not text in UTF-8; give its encoding with {option('encoding')}, or give CSV or Parquet")
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise DataError(f"{name} is empty; expected {expected}")
    if "\r" in first.rstrip("\r"):
        raise DataError(f"cannot read {name}: a carriage return inside its first line; end lines with LF or CRLF")
    return lines


def _lines_of(path: Path, count: int) -> list[str]:
    try:
        head = scan_lines(path, encoding="utf8-lossy", truncate_ragged_lines=True).head(count).collect()
    except pl.exceptions.NoDataError:
        return []
    return [line or "" for line in head["line"].to_list()]


def _blank_lines(path: Path) -> int:
    """Return how many blank lines a file begins with, up to a limit: more of them are as good as nothing."""
    lines = scan_lines(path, encoding="utf8-lossy", truncate_ragged_lines=True).with_row_index(ROW)
    found = lines.filter(pl.col("line").str.strip_chars() != "").select(pl.col(ROW).min()).collect(engine="streaming").item()
    return min(int(found), _MOST_BLANK_LINES) if found is not None else 0


def open_text(ready: Ready, options: DataOptions, expected: str) -> tuple[Text, list[str], bool]:
    """Return a text file, the names of its columns, and whether it has a header.

    Raises
    ------
    DataError
        The file is empty, is not text, or has a single column.
    """
    lines = first_lines(ready, expected, options.skip_rows)
    dialect = dialect_of(lines, ready.suffix, options, ready.name)
    first = next(line for line in lines[dialect.start :] if line.strip() and not (dialect.comment and line.startswith(dialect.comment)))
    width = len(first.split()) if dialect.separator == BLANKS else first.count(dialect.separator) + 1
    text = Text(ready.path, ready.name, dialect, width)
    head = _head(text, lines, options)
    header = header_of(head, options)
    names = distinct_names(header) if header is not None else [str(number) for number in range(1, head.width + 1)]
    return replace(text, width=head.width), names, header is not None


def _head(text: Text, lines: Sequence[str], options: DataOptions) -> pl.DataFrame:
    """Return the first rows, read with less and less care: what is wrong with them is said when they are read."""
    from ultragcn.data.faults import fault_in

    lossy = replace(text, lossy=True)
    tries = [text, lossy, text.letters(), lossy.letters()]
    if text.width > 1:
        tries.append(replace(lossy.letters(), rest=True))
    failed: Exception | None = None
    for tried in tries:
        try:
            head = tried.rows().head(HEAD_ROWS).collect(engine="streaming").drop(ROW)
        except (pl.exceptions.PolarsError, OSError) as error:
            failed = error
            continue
        if head.height == 0:
            continue
        if head.width < 2:
            raise _single_column(text, lines, options)
        return head
    found = fault_in(text)
    if found is None and failed is None:
        raise DataError(f"{text.name} is empty; expected rows of cells")
    raise found if found is not None else DataError(f"cannot read {text.name}: {damage(failed)}")


def _single_column(text: Text, lines: Sequence[str], options: DataOptions) -> DataError:
    first = next(line for line in lines[text.dialect.start :] if line.strip())
    with_it = f"with separator {options.separator!r} " if options.separator else ""
    instead = "another separator, or leave it out so that it is found" if options.separator else "the separator of its cells"
    return DataError(f"{with_it}{text.name} has a single column ({first.strip()[:40]!r}); give {instead} (--separator)")


def damage(error: BaseException | None) -> str:
    """Return what is wrong with a file that could not be read, in our words."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).lower()
    if "unexpected end of file" in text or "incomplete frame" in text or "unexpected eof" in text:
        return "it is cut short; fetch or copy it again"
    if any(word in text for word in ("gzip", "zlib", "deflate", "zstd", "frame", "corrupt", "decompress")):
        return "its archive is damaged; fetch or copy it again"
    return "its rows do not all have the same form, or it is damaged"
