"""How easy the documentation is to read: length of sentences, sentences without a verb, and "is no", page by page.

    python benchmarks/sentences.py [PAGE ...] [--commit COMMIT] [--show NUMBER]

Without PAGE, these pages are read: the READMEs in English, the changelog, and docs/ without docs/notes/. --commit reads them as they were
in a commit. --show prints, for each page, its longest sentences and those without a verb.

Prose alone is counted: paragraphs and items of lists. Code, tables, headings (also bold words that begin a paragraph) and comments are
left out. Code within a sentence counts as a word. A sentence ends at a full stop, a question mark, an exclamation mark, or the end of
its paragraph or item. A lead that ends in a colon before code, a table or a list is a sentence.

The sign of a verb is a simple one: a word of a list, in any of its forms. Words that are nouns as often, such as "list" and
"run", count where a sentence begins with them, or where they follow a word such as "it", "to" or "which". So the share is a
measure for comparing, and a single verdict may be wrong.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LONG = 30
"""A sentence of more words is long."""

_ALWAYS = """
is are was were am be been has have had does do did done can could will would may might must shall should need not needs cannot
isn't aren't doesn't don't won't can't it's there's gave give gives given went go goes gone came come comes began begin begins
begun made make makes took take takes taken got get gets found find finds kept keep keeps left leave leaves said say says told
tell tells knew know knows known held hold holds stood stand stands fell fall falls wrote write writes written read reads saw see
sees seen chose choose chooses chosen let lets put puts cut cuts hit hits cost costs meant mean means lay lie lies lost lose loses
ran drew draw draws drawn grew grow grows grown rose rise rises spent spend spends sent send sends built build builds brought
bring brings bought buy buys broke break breaks felt feel feels led lead leads met meet meets paid pay pays sat sit sits thought
think taught teach teaches understood understand understands won wins forgot forgets forgotten forget became become becomes
applies apply tries try carries carry denies copies varies vary relies rely replies reply run runs set sets
"""
_REGULAR = """
accept add agree append ascend allow answer appear ask assume avoid believe belong bound call check choose close collect combine
change compare compile complete compute consist contain continue contribute convert count create decide decode define delete
depend describe differ disagree divide download draw drop end enter equal estimate evaluate exceed exclude exist expect explain
express fail finish fit fix follow forbid gather generate happen help hide honour ignore imply import improve include indicate
insist install join learn like list live load look lower matter measure minimise move multiply name offer omit open order outlive
own pass play point prefer prepare prevent print produce prove provide pull push quote raise reach receive recognise recommend
record reduce refine refit refuse reject rest remain remember remove repeat replace require respond resume retrain return round
save seem select serve share show skip slow solve speak start stay stop store suit support survive sweep talk tend touch train
treat trust turn type update use want warn watch weigh work yield
"""
_ALSO_NOUNS = """
answer answers break breaks build builds call calls change check checks close compare copies copy cost costs count counts cut cuts
draw draws end ends estimate estimates export exports fall falls filter filters fit fits help hit hits import imports install lay
lead leads lie like list lists live load loads log logs look looks lower measure measures move moves name names offer offers open
order orders own place places plan plans play point points pull push put puts rank ranks read record records report reports return
returns rise rises round run runs score scores set share shares show shows slow sort sorts split splits start starts state states
stop stops sum sums support supports sweep sweeps test tests touch train trains turn turns type types update updates use uses work
works
"""
"""Verbs that are nouns as often."""
_BEFORE_VERBS = """
also always and anyone both code each everybody everyone i it never nobody not one only or somebody that then these they this
those to we what which who you
"""
"""Words after which such a word is a verb."""


def _forms(verb: str) -> list[str]:
    stem = verb[:-1] if verb.endswith("e") else verb
    doubled = verb + verb[-1] if re.search(r"[^aeiou][aeiou][bdglmnprt]$", verb) else verb
    third = verb + "es" if re.search(r"(s|x|ch|sh|z)$", verb) else verb + "s"
    return [verb, third, stem + "ed", doubled + "ed"]


_NOUNS, _BEFORE = set(_ALSO_NOUNS.split()), set(_BEFORE_VERBS.split())
_VERBS = set(_ALWAYS.split()) | {form for verb in _REGULAR.split() for form in _forms(verb)}


class Counts(NamedTuple):
    """What is counted of a page."""

    sentences: int
    words: int
    long: int
    verbless: int
    is_no: int

    def row(self, page: str) -> str:
        """A row of the table."""
        of = max(self.sentences, 1)
        return (
            f"| {page} | {self.sentences} | {self.words / of:.1f} | {100 * self.long / of:.0f} % | {100 * self.verbless / of:.0f} % | "
            f"{self.is_no} |"
        )


def paragraphs(text: str) -> list[str]:
    """Return the prose of a Markdown text: a string for each paragraph and for each item of a list."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"^( *)```.*?^\1```[^\n]*$", "", text, flags=re.M | re.S)
    found: list[str] = []
    begins, in_list = True, False
    for line in text.split("\n"):
        bare = line.strip()
        item = re.match(r"\s*(?:[*+-]|\d+\.)\s+(.*)", line)
        if not bare or re.match(r"#|\||!\[|--8<--|:::|-{3,}$", bare) or (line.startswith("    ") and not in_list):
            begins = True
            in_list = in_list and not re.match(r"#|\|", bare)
        elif item:
            found.append(item[1])
            begins, in_list = False, True
        elif begins:
            in_list = in_list and line.startswith(" ")
            if not line.startswith("    ") or in_list:
                found.append(bare)
            begins = False
        else:
            found[-1] += " " + bare
    return found


def sentences(text: str) -> list[str]:
    """Return the sentences of a Markdown text, code within them as the word `code`."""
    found = []
    for paragraph in paragraphs(text):
        paragraph = re.sub(r"^\*\*[^*]+[.:]\*\*", "", paragraph)  # a heading within its line
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"(`+).+?\1", "code", paragraph)).replace("*", "")
        plain = re.sub(r"\b(e\.g|i\.e|et al|vs|cf|Fig)\.", r"\1", plain)
        parts = re.split(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]*(?:[A-Z0-9]|code\b))", plain)
        found += [part.strip() for part in parts if re.search(r"\w", part) and part != "code:"]
    return found


def has_verb(sentence: str) -> bool:
    """Say whether a sentence seems to have a verb."""
    words = re.findall(r"[a-z]+(?:'[a-z]+)?", sentence.lower())
    return any(
        word in _VERBS and (word not in _NOUNS or place == 0 or words[place - 1] in _BEFORE or word.endswith("ed"))
        for place, word in enumerate(words)
    ) or (bool(words) and words[0] in _NOUNS)


def counts(text: str) -> Counts:
    """Count the sentences of a Markdown text."""
    found = sentences(text)
    lengths = [len(sentence.split()) for sentence in found]
    return Counts(
        len(found), sum(lengths), sum(length > LONG for length in lengths), sum(not has_verb(sentence) for sentence in found),
        sum(len(re.findall(r"\b(?:is|are|was|were) no\b", sentence)) for sentence in found),
    )  # fmt: skip


def read(page: str, commit: str | None) -> str | None:
    """Return the text of a page, now or as it was in a commit; None where it was not there."""
    if commit is None:
        path = ROOT / page
        return path.read_text(encoding="utf-8") if path.exists() else None
    done = subprocess.run(["git", "show", f"{commit}:{page}"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    return done.stdout if done.returncode == 0 else None


def pages(commit: str | None) -> list[str]:
    """Return the pages that are read by default."""
    if commit is None:
        docs = [f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")]
    else:
        command = ["git", "ls-tree", "--name-only", commit, "docs/"]
        docs = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return ["README.md", "CHANGELOG.md", *sorted(page for page in docs if page.endswith(".md") and not page.endswith(".ko.md"))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--commit")
    parser.add_argument("--show", type=int, default=0)
    arguments = parser.parse_args()
    whole = Counts(0, 0, 0, 0, 0)
    print('| page | sentences | mean words | above 30 words | no verb | "is no" |\n|---|---|---|---|---|---|')
    for page in arguments.pages or pages(arguments.commit):
        text = read(page, arguments.commit)
        if text is None:
            sys.exit(f"{page} is not there{f' in {arguments.commit}' if arguments.commit else ''}; give pages of this repository")
        counted = counts(text)
        whole = Counts(*(a + b for a, b in zip(whole, counted, strict=True)))
        print(counted.row(page))
        found = sentences(text)
        for sentence in sorted(found, key=lambda sentence: -len(sentence.split()))[: arguments.show]:
            print(f"    {len(sentence.split())} words: {sentence}")
        for sentence in [sentence for sentence in found if not has_verb(sentence)][: arguments.show]:
            print(f"    no verb: {sentence}")
    print(whole.row("all"))


if __name__ == "__main__":
    main()
