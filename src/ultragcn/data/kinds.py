"""What a file is, by its first bytes: something to read, or something else, which is then named for what it is."""

import json
import re

TEXT, JSON_LINES, JSON, PARQUET, SQLITE, ZIP = "text", "JSON lines", "JSON", "Parquet", "SQLite", "zip"
WORKBOOK = "Excel workbook"
GZIP, ZSTD, BZIP2, XZ = "gzip", "zstd", "bzip2", "xz"

_MAGIC = (
    (b"PAR1", PARQUET), (b"SQLite format 3\0", SQLITE), (b"PK\x03\x04", ZIP), (b"PK\x05\x06", ZIP), (b"\x1f\x8b", GZIP),
    (b"\x28\xb5\x2f\xfd", ZSTD), (b"BZh", BZIP2), (b"\xfd7zXZ\0", XZ),
)  # fmt: skip

_SAVE_AS_CSV = "save it as CSV and give the CSV file"
_WITH_POLARS = "turn it into CSV or Parquet (docs/data.md shows how) and give the new file"
_ITSELF = "give the data themselves"
_UNPACK = "unpack it and give the file in it"
_PICKLE = ("a pickle", "load it if you trust its author, and save a frame as Parquet")
# What begins so is not a log: what it is, and what to do.
_OTHERS = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook or another office document", _SAVE_AS_CSV),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _WITH_POLARS),
    (b"\x93NUMPY", "a NumPy array", "make a SciPy matrix or a frame of it in Python"),
    (b"MATLAB 5.0", "a MATLAB file", "read it with scipy.io.loadmat and give the matrix in Python"),
    *((bytes([0x80, version]), *_PICKLE) for version in (2, 3, 4, 5)),
    (b"ORC", "an ORC file", _WITH_POLARS),
    (b"ARROW1", "an Arrow or Feather file", _WITH_POLARS),  # read by polars, a damaged one ends in messages of Rust
    (b"Obj\x01", "an Avro file", _WITH_POLARS),
    (b"FEA1", "a Feather file of the first version", _WITH_POLARS),
    (b"%PDF", "a PDF document", _ITSELF),
    (b"\x89PNG", "a picture", _ITSELF),
    (b"\xff\xd8\xff", "a picture", _ITSELF),
    (b"GIF8", "a picture", _ITSELF),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "an lz4 archive", _UNPACK),
    (b"\x1f\x9d", "an archive of compress", _UNPACK),
    (b"RDX", "a file of R", "save a table as CSV in R"),
    (b"PGDMP", "a dump of PostgreSQL", "export the table as CSV"),
)
_OTHER_TEXTS = (
    (re.compile(rb"version https://git-lfs\.github\.com/spec/"), "a pointer of Git LFS, not the file itself", "fetch it with git lfs pull"),
    (re.compile(rb"(?i)\s*(<!doctype html|<html|<head|<body)"), "a web page, perhaps of a login or an error", "download the file itself"),
    (re.compile(rb"(?i)\s*<\?xml|\s*<[a-z]+( [^<>\n]*)?>\s*<"), "XML", _WITH_POLARS),
    (re.compile(rb"(?i)(\s*%[^\n]*\n|\s)*@relation\b"), "an ARFF file of Weka",
     'skip the lines before the data, up to @DATA, with --skip_rows N --header no (skip_rows=N, header="no")'),
    (re.compile(rb"%%MatrixMarket"), "a Matrix Market file", "read it with scipy.io.mmread and give the matrix in Python"),
    (re.compile(rb"(?i)(\s*--[^\n]*\n|\s)*(create table|insert into|drop table|begin transaction|pragma )"), "a dump of a database in SQL",
     "export the table as CSV"),
    (re.compile(rb"\s*\{u?'"), "made of Python dictionaries, not of JSON", "turn them into JSON lines (docs/data.md shows how)"),
    (re.compile(rb"[+-]?[\d.]+( \d+:-?[\d.]+){2,} *\r?\n"), "in the format of libsvm",
     "read it with scikit-learn and give the matrix in Python"),
    (re.compile(rb"\d+:\r?\n *\S+[,;\t]"), "in blocks, each with an item and a colon before the lines of its users",
     "turn it into a table with a row for each interaction (docs/data.md shows how)"),
)  # fmt: skip


def kind_of(head: bytes) -> str:
    """Return what a file is whose first bytes are `head`."""
    found = next((kind for magic, kind in _MAGIC if _begins(head, magic)), None)
    if found is not None:
        return found
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"\[\s*[\[{]|\[\s*$", start):
        return JSON
    if start.startswith(b"[") and _is_json(start):
        return JSON
    if re.match(rb'\{\s*["}]', start):
        return JSON_LINES if _is_line_of_json(start) else JSON
    return TEXT


def other(head: bytes) -> tuple[str, str] | None:
    """Return what a file is that cannot be read as a log, and what to do; None where nothing speaks against reading it."""
    for magic, what, advice in _OTHERS:
        if _begins(head, magic):
            return what, advice
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it and give the file in it"
    start = head.removeprefix(b"\xef\xbb\xbf")
    return next(((what, advice) for pattern, what, advice in _OTHER_TEXTS if pattern.match(start)), None)


def _begins(head: bytes, magic: bytes) -> bool:
    """Return whether a file begins so; if these are letters, it must go on as no text does: a user may be called BZhang or ORCHID."""
    return head.startswith(magic) and (not magic.isascii() or is_binary(head) or not _is_utf_8(head) or len(head) <= len(magic))


def _is_utf_8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True


def is_binary(head: bytes) -> bool:
    """Return whether bytes are not text: zeros among them, or control characters where they are not UTF-8."""
    if b"\0" in head:
        return True
    controls = sum(head.count(bytes([code])) for code in range(32) if code not in (9, 10, 12, 13, 27))
    return controls > len(head) // 20 + 1 and not _is_utf_8(head)


def utf_16(head: bytes) -> str | None:
    """Return the encoding of text in UTF-16 (or 32), by its byte order mark or by the zeros between its letters; None for others."""
    for mark, name in ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if head.startswith(mark):
            return name
    sample = head[:2000]
    if len(sample) >= 4 and b"\0" in sample:
        even, odd = sample[0::2].count(0), sample[1::2].count(0)
        if max(even, odd) > len(sample) // 4 and min(even, odd) <= len(sample) // 40:
            return "utf-16-le" if odd > even else "utf-16-be"
    return None


def likely_encoding(sample: bytes) -> str:
    """Return the encoding that bytes which are not UTF-8 are most likely in, by the script that they then are: a guess for a message."""
    for codec, name, first, last in _SCRIPTS:
        foreign = [letter for letter in _decoded(sample, codec) if ord(letter) > 127]
        if foreign and sum(first <= letter <= last for letter in foreign) > _MOST * len(foreign):
            return name
    # Words of Cyrillic are foreign from end to end; in Western Europe an accented letter stands among others.
    foreign_bytes = sum(byte > 0xBF for byte in sample)
    in_words = sum(map(len, re.findall(rb"[\xc0-\xff]{3,}", sample)))
    return "cp1251" if in_words > _MOST * max(foreign_bytes, 1) else "cp1252"


_MOST = 0.7
_SCRIPTS = (
    ("euc_kr", "cp949", "\uac00", "\ud7a3"), ("shift_jis", "shift_jis", "\u3040", "\u9fff"), ("gb2312", "gb18030", "\u4e00", "\u9fff"),
)  # fmt: skip


def _decoded(sample: bytes, codec: str) -> str:
    """Return a sample as text, without a last letter that is cut off; "" where it is not text of this encoding."""
    try:
        return sample.decode(codec)
    except UnicodeDecodeError as error:
        return sample[: error.start].decode(codec) if error.start >= len(sample) - 2 else ""


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_line_of_json(start: bytes) -> bool:
    line, end, _ = start.partition(b"\n")
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        # A first line that is longer than what was looked at begins one all the same; a brace alone begins an object over several.
        return not end and len(line) > 1000
