"""The list of promises names sentences that stand on their pages, and tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"^\| (\S+\.md) \| `(.*)` \| `(\S+)::(\S+)` \|$", (ROOT / "docs/promises.md").read_text(encoding="utf-8"), re.M)


def test_every_row_of_the_list_is_read():
    table = [line for line in (ROOT / "docs/promises.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(ROWS) == len(table) - 1 > 20


@pytest.mark.parametrize(("page", "promise", "file", "test"), ROWS)
def test_a_promise_stands_on_its_page_and_its_test_is_there(page, promise, file, test):
    words = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert promise in words
    assert f"\ndef {test}(" in (ROOT / file).read_text(encoding="utf-8")
