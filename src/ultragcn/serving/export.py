"""Exporting a model: its vectors in the format of another program, checked, with what ranking by them is worth."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ultragcn import storage
from ultragcn.data.interactions import Interactions, require_interactions
from ultragcn.errors import UsageError, unknown_name
from ultragcn.machine import refuse_lost_threads
from ultragcn.models.recommender import EmbeddingRecommender, Recommender
from ultragcn.models.registry import load_model
from ultragcn.serving.exports import vectors, worth
from ultragcn.serving.exports.formats import ENDINGS, FORMATS, Format
from ultragcn.serving.exports.sides import SIDES, Side, read_back

ABOUT = "export.json"
"""The file that says what is in the folder of an export."""


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes
    ----------
    out : Path
        The folder, or the one file.
    files : list of Path
    to : str
        The format.
    rows : dict of str -> int
        `items` and `users`: how many of them were written.
    dimensions : dict of str -> int
        How many dimensions of a vector are what, in this order: `embeddings`, `item bias`, `item graph`.
    figures : dict of str -> float
        What ranking by the vectors that were read back is worth: `recall@20` and `recall@20_of_the_model`, or `overlap@20` where nothing is
        held out. With `extended` also what the embeddings alone are worth.
        With `align_to` also `common_ids`, and the mean `cosine_before` and `cosine_after` between old and new vectors of an id.
    left_out : list of str
        What the score of the model has besides, and the vectors have not.
    """

    out: Path
    files: list[Path]
    to: str
    rows: Mapping[str, int]
    dimensions: Mapping[str, int]
    figures: Mapping[str, float]
    left_out: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but where it is, as JSON takes it."""
        return {
            "format": self.to, "files": [file.name for file in self.files], "rows": dict(self.rows), "dimensions": dict(self.dimensions),
            "left_out": self.left_out, "figures": dict(self.figures),
        }  # fmt: skip


def export(
    model: Recommender,
    out: str | Path,
    to: str,
    *,
    which: str = "both",
    extended: int | None = None,
    align_to: Recommender | str | Path | None = None,
    held_out: Interactions | None = None,
    overwrite: bool = False,
) -> Export:
    """Write the vectors of a model, with their ids, for other programs; return the files and how good a ranking by them is.

    In a model with an item graph or a trend, the score is more than the dot product of its embeddings. So everything is read back from the
    files and compared, and then items are ranked by it.

    Parameters
    ----------
    model : Recommender
        A fitted model with embeddings.
    out : str or Path
        A folder, which must be new or empty. Or a file, if only items or only users are written in a format that has one file for each.
    to : {"numpy", "parquet", "word2vec", "faiss", "pgvector", "ndjson", "qdrant", "elasticsearch"}
        The format. docs/exporting.md says which programs read it.
    which : {"both", "items", "users"}
        The vectors to write.
    extended : int, optional
        Append one dimension for the item bias, such as the trend, and this number of dimensions for the item graph.
    align_to : Recommender, str or Path, optional
        Another model, or its folder. The vectors are rotated towards its vectors. No score changes.
    held_out : Interactions, optional
        Pairs that the model has not seen, such as `data.test`. The vectors and the model are measured on them. Without them, the lists by
        the vectors are compared with the lists of the model.
    overwrite : bool
        Replace the folder of an earlier export, or the file.

    Returns
    -------
    Export

    Raises
    ------
    UsageError
        The model has no vectors; the format cannot hold an id; `out` is in use; or an argument is not possible.
    MissingDependencyError
        `to` is `faiss`, which is not installed.
    UltraGCNError
        The files cannot be written, or they do not read back as they were written. They are then removed.

    Examples
    --------
    >>> import tempfile
    >>> from ultragcn import UltraGCN, export, load_dataset
    >>> data = load_dataset("demo")
    >>> model = UltraGCN(embedding_dim=8, epochs=3).fit(data)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = export(model, f"{folder}/vectors", "parquet", held_out=data.test)
    >>> [file.name for file in done.files]
    ['items.parquet', 'users.parquet']
    >>> sorted(done.figures)
    ['recall@20', 'recall@20_of_the_model']
    """
    if to not in FORMATS:
        raise unknown_name("format", to, FORMATS)
    if which not in ("both", *SIDES):
        raise unknown_name("side", which, ("both", *SIDES))
    model = vectors.refuse_without_vectors(model)
    model._check_fitted()
    require_interactions("export", "held_out=data.test", held_out)
    refuse_lost_threads()
    path = check_place(Path(out), to, which, overwrite)
    with model._limited("export"):
        return _exported(model, path, to, which, extended, align_to, held_out)


def check_place(out: Path, to: str, which: str, overwrite: bool) -> Path:
    """Return where an export goes; refuse a place that cannot take it, before any work.

    Raises
    ------
    UsageError
        There are files already; or the name is that of a file, and the format has several, or of another kind.
    """
    ending = out.suffix.lower()
    if _is_file(out, to):
        if which == "both":
            raise UsageError(f"{out} is one file, and items and users are two; give a folder, or --which items or --which users")
    elif ending in ENDINGS:
        wants = f"{', '.join(FORMATS[to].endings)}, or a folder" if FORMATS[to].endings else "a folder, because it has several files"
        raise UsageError(f"cannot write {to} to {out}: it takes {wants}; give another --out")
    path = out.resolve() if out.is_symlink() else out
    try:
        present = sorted(file.name for file in path.iterdir()) if path.is_dir() else []
    except OSError as error:
        raise UsageError(f"cannot look into {out}: {error.strerror}; give another --out") from error
    if not path.exists() or (path.is_dir() and not present and not _is_file(out, to)):
        return path
    if _is_file(out, to):
        if not path.is_file():
            raise UsageError(f"cannot write {out}: it is not a file; give the name of a file")
    elif ABOUT not in present:
        shown = ", ".join(present[:3]) or "it is a file"
        raise UsageError(f"{out} already holds something that is not an export ({shown}); give another --out")
    if not overwrite:
        raise UsageError(f"{out} already {'exists' if path.is_file() else 'holds an export'}; give another --out, or --overwrite")
    return path


def _is_file(out: Path, to: str) -> bool:
    return out.suffix.lower() in FORMATS[to].endings


def _exported(
    model: EmbeddingRecommender, path: Path, to: str, which: str, extended: int | None,
    align_to: Recommender | str | Path | None, held_out: Interactions | None,
) -> Export:  # fmt: skip
    kind = FORMATS[to]
    scorer: Any = model.scorer
    blocks, alignment = vectors.blocks_of(scorer, extended), None
    if align_to is not None:
        old = vectors.refuse_without_vectors(align_to if isinstance(align_to, Recommender) else load_model(align_to))
        old_scorer: Any = old.scorer
        ids, old_ids = (model.user_ids, model.item_ids), (old.user_ids, old.item_ids)
        blocks, alignment = vectors.aligned(
            blocks, ids, vectors.blocks_of(old_scorer, extended if vectors.parts_left_out(old_scorer) else None), old_ids
        )
    sides = _sides(model, kind, blocks, None if extended is not None else scorer.item_bias)
    chosen = [sides[name] for name in SIDES if which in ("both", name)]
    for side in chosen:
        kind.refuse(side)
    with storage.scratch_folder(path) as scratch:
        folder = scratch / "made"
        folder.mkdir()
        found = dict(sides)
        for side in chosen:
            kind.write(side, folder)
            found[side.name] = read_back(kind.read, side, folder, path)
        embeddings = blocks[0][1:] if len(blocks) > 1 else None
        figures = worth.figures(model, found["users"], found["items"], held_out, embeddings)
        if alignment is not None:
            figures |= {"common_ids": alignment.common, "cosine_before": alignment.before, "cosine_after": alignment.after}
        names = sorted(file.name for file in folder.iterdir())
        is_file = _is_file(path, to)
        done = Export(
            path, [path] if is_file else [path / name for name in names], to, {side.name: len(side.ids) for side in chosen},
            {one.name: one.user.shape[1] for one in blocks}, figures, _left_out(scorer, blocks, chosen),
        )  # fmt: skip
        if is_file:
            storage.put_in_place(folder / names[0], path)
        else:
            about = {"model": type(model).__name__} | done.to_dict()
            (folder / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            storage.put_in_place(folder, path)
    return done


def _sides(model: EmbeddingRecommender, kind: Format, blocks: Sequence[vectors.Block], bias: np.ndarray | None) -> dict[str, Side]:
    """Return both sides, with what the format can hold beside the vectors."""
    user, item = vectors.joined(blocks)
    titles = None
    if kind.has_titles and model.item_titles_ is not None:
        titles = np.array([title or None for title in model.item_titles_.tolist()], dtype=object)
    items = Side("items", model.item_ids.ids, item, titles, bias if kind.has_bias else None)
    return {"items": items, "users": Side("users", model.user_ids.ids, user)}


def _left_out(scorer: Any, blocks: Sequence[vectors.Block], chosen: Sequence[Side]) -> list[str]:
    """Return the parts of the score that are neither dimensions nor beside the vectors that were written."""
    there = {one.name for one in blocks} | {vectors.BIAS for side in chosen if side.bias is not None}
    return [name for name in vectors.parts_left_out(scorer) if name not in there]
