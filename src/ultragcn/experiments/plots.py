"""Plots of results: a function for each kind, which takes numbers and returns a `Plot` to look at or to write as PNG and SVG.

Trials come best first, so that the first one of any selection is its best. Everything is drawn with a few named colours, which a page
that shows the SVG inline can replace by its own (`report`), in the light and in the dark.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ultragcn import storage
from ultragcn.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "surface": "#ffffff", "ink": "#1c2431", "muted": "#5b6574", "grid": "#dde2ea",
    "series-1": "#1f6fb2", "series-2": "#c2501c", "series-3": "#1a8457",
    "series-4": "#8548bd", "series-5": "#8f6400", "series-6": "#0f7681",
}  # fmt: skip
"""Name -> colour on light paper. The series can be told apart by those who see colours otherwise, by their markers at the latest."""

_SERIES = tuple(colour for name, colour in COLOURS.items() if name.startswith("series"))
_MARKERS = "osD^vP"
_WIDTH, _HEIGHT = 4.4, 3.1
"""Inches: as wide as a telephone shows without shrinking the letters."""
_FONTS = ("DejaVu Sans", "Noto Sans CJK KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo")
"""The first one has Latin letters and symbols; one of the others, where installed, Korean ones."""
_FINISHED = "finished"
_MOST_CELLS_WITH_TEXT = 64
_CELLS_A_VALUE = 1.5
"""Cells that a value of either parameter is in at least, on the average, if trials lie on a grid."""
_ROOM = 34
"""Letters that fit beside each other under an axis."""
_MANY_TIMES = 500
"""Ends of a log axis that differ by this factor have marks for powers of ten alone."""
_FAR_APART = 8
"""Seconds that differ by this factor are drawn on a log scale."""
_BESIDE = (((0, 6), "center", "bottom"), ((0, -6), "center", "top"), ((7, 0), "left", "center"), ((-7, 0), "right", "center"))
"""Where a label may stand: how far from its point (1/72 inch), and which part of it."""


class Point(NamedTuple):
    """What is drawn of a trial, or of a model: a value, and what it cost."""

    parameters: Mapping[str, Any]
    mean: float
    interval: tuple[float, float] | None
    """95 %; None when there is none, as of a single seed."""
    label: str = ""
    seconds: float = math.nan


class Curve(NamedTuple):
    """A metric as it grew."""

    label: str
    x: Sequence[float]
    """Epochs or seconds."""
    y: Sequence[float]
    interval: Sequence[tuple[float, float]] | None = None
    """95 %, of each y; None when there is none."""
    at_the_end: float | None = None
    """The metric of the finished model, with what is chosen after the last epoch (the item graph, the trend); None where unknown."""


@dataclass(frozen=True)
class Plot:
    """A drawn figure and what is said about it."""

    title: str
    description: str
    """What one sees on it, for those who do not."""
    figure: "Figure"

    @property
    def file_name(self) -> str:
        """What its files are called, without .png and .svg."""
        return re.sub(r"[^\w@.]+", "-", self.title)

    def svg(self) -> str:
        """Return the figure as an SVG element, letters as letters."""
        with _style(), io.StringIO() as file:
            self.figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
            text = file.getvalue()
        return text[text.index("<svg") :]

    def write_png(self, path: Path) -> None:
        """Write the figure as PNG, 200 dots per inch."""
        with storage.atomic_path(path) as temporary, _style():
            self.figure.savefig(temporary, dpi=200, format="png", metadata={"Software": None})

    def write_svg(self, path: Path) -> None:
        """Write the figure as SVG, as it looks on light paper."""
        storage.write_text(path, '<?xml version="1.0" encoding="utf-8"?>\n' + self.svg())

    def _repr_svg_(self) -> str:
        return self.svg()


def check_installed(who: str) -> None:
    """Raise unless matplotlib is there to draw with."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError(f"{who} needs matplotlib; in the repository, run: pip install '.[report]'") from None


@contextmanager
def _style() -> Iterator[None]:
    """Draw in the house style, and leave matplotlib's own settings as they were."""
    import matplotlib
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    ink, muted = COLOURS["ink"], COLOURS["muted"]
    settings: dict[Any, Any] = {
        "font.family": [name for name in _FONTS if name in installed] or ["sans-serif"], "font.size": 9.5, "text.color": ink,
        "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 10, "axes.labelpad": 6,
        "axes.edgecolor": muted, "axes.labelcolor": ink, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "axes.axisbelow": True, "text.parse_math": False, "grid.color": COLOURS["grid"], "grid.linewidth": 0.8,
        "xtick.color": muted, "ytick.color": muted, "xtick.labelsize": 9, "ytick.labelsize": 9,
        "legend.fontsize": 8.5, "legend.title_fontsize": 8.5, "legend.frameon": False,
        "figure.facecolor": COLOURS["surface"], "savefig.facecolor": COLOURS["surface"], "axes.facecolor": COLOURS["surface"],
        "lines.linewidth": 1.6, "lines.markersize": 5.5, "svg.fonttype": "none", "svg.hashsalt": "ultragcn",
    }  # fmt: skip
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # an SVG has letters: who looks at it has the font
        yield


def _drawn(draw: Callable[..., Plot]) -> Callable[..., Plot]:
    """Have `draw` draw in the house style."""

    @wraps(draw)
    def styled(*arguments: Any, **options: Any) -> Plot:
        check_installed("drawing")
        with _style():
            plot = draw(*arguments, **options)
            for axes in plot.figure.axes:
                _thinned(plot.figure, axes)
            return plot

    return styled


@_drawn
def against_parameter(points: Sequence[Point], parameter: str, metric: str, title: str | None = None) -> Plot:
    """Draw the metric against one parameter, with intervals over seeds.

    Trials that differ in this parameter alone are joined by a line, where few lines do; else each is a point. The best is ringed.

    Parameters
    ----------
    points : list of Point
        Best first; all have the parameter.
    parameter, metric : str
        Their names.
    title : str, optional
        What is written above instead of the two names.
    """
    figure, axes = _figure()
    axis = _Axis([point.parameters[parameter] for point in points])
    lines: dict[tuple[tuple[str, str], ...], list[Point]] = {}
    for point in points:
        others = tuple((name, _text(value)) for name, value in point.parameters.items() if name != parameter)
        lines.setdefault(others, []).append(point)
    # A trial that lies on no grid of the others, such as the one with what is kept, stands beside their lines.
    alone = sum(len(line) == 1 for line in lines.values())
    joined = len(lines) - alone <= len(_SERIES) and alone <= (len(lines) > 1)
    best = points[0]
    axis.label(axes, "x", parameter)
    if joined:
        told_apart = [name for number, (name, _) in enumerate(next(iter(lines))) if len({others[number] for others in lines}) > 1]
        for number, (others, line) in enumerate(sorted(lines.items(), key=lambda entry: _order(entry[1][0], told_apart))):
            ordered = sorted(line, key=lambda point: axis.place(point.parameters[parameter]))
            label = _shortened(", ".join(value for name, value in others if name in told_apart), 40)
            beside = _points_beside(axes, 2.5 * (number - (len(lines) - 1) / 2))  # so that intervals do not hide each other
            places = axis.places([point.parameters[parameter] for point in ordered])
            _with_intervals(axes, places, ordered, number, label=label, linestyle="-", transform=beside)
            if best in line:
                _ring(axes, axis.place(best.parameters[parameter]), best.mean, beside)
        if told_apart:
            _legend(figure, axes, title=", ".join(told_apart))
    else:
        _with_intervals(axes, axis.places([point.parameters[parameter] for point in points]), points, 0, faint=len(points) > 12)
        _ring(axes, axis.place(best.parameters[parameter]), best.mean, axes.transData)
    axes.margins(x=0.07)
    axes.set(title=title or f"{metric} against {parameter}", ylabel=metric)
    bars = "bars are 95 % intervals over seeds" if any(point.interval for point in points) else "one seed each, so no intervals"
    at = f"{_number(best.mean)} at {parameter} = {_text(best.parameters[parameter])}"
    return Plot(f"{metric} against {parameter}", f"Best: {at}, ringed. {bars.capitalize()}.", figure)


@_drawn
def over_two_parameters(points: Sequence[Point], first: str, second: str, metric: str) -> Plot:
    """Draw the metric over two parameters: a heat map where trials lie on a grid, else a coloured point each.

    Where trials share a cell because they differ in other parameters, it shows the best of them.
    """
    across, up = (_Axis([point.parameters[name] for point in points]) for name in (first, second))
    best: dict[tuple[Any, Any], Point] = {}
    for point in points:
        best.setdefault((across.key(point.parameters[first]), up.key(point.parameters[second])), point)
    # Values that were drawn from a range come once each: a row of cells of their own would look like a grid that nobody laid out.
    longest = max(len(across.keys), len(up.keys))
    on_grid = len(best) * 2 >= len(across.keys) * len(up.keys) and longest <= 40 and len(best) >= _CELLS_A_VALUE * longest
    values = np.array([point.mean for point in best.values()])
    at = f"{first} = {_text(points[0].parameters[first])} and {second} = {_text(points[0].parameters[second])}"
    figure, axes = _figure(height=max(_HEIGHT, 0.3 * len(up.keys) + 1.3) if on_grid else _HEIGHT)
    colours = _colour_map(values)
    if on_grid:
        _heat_map(axes, across, up, {keys: point.mean for keys, point in best.items()}, colours)
    else:
        places = across.places([point.parameters[first] for point in points]), up.places([point.parameters[second] for point in points])
        edges = [COLOURS["ink"], *[COLOURS["surface"]] * (len(points) - 1)]
        order = slice(None, None, -1)  # the best on top
        axes.scatter(
            places[0][order], places[1][order], s=46, linewidths=1, edgecolors=edges[order],
            c=[colours.to_rgba(point.mean) for point in points][order],
        )  # fmt: skip
        across.label(axes, "x", first)
        up.label(axes, "y", second)
    axes.set(xlabel=first, ylabel=second, title=f"{metric} over two parameters")
    if not on_grid or len(best) > _MOST_CELLS_WITH_TEXT:
        bar = axes.figure.colorbar(colours, ax=axes)
        bar.outline.set_visible(False)
    shared = " Each cell shows the best of the trials in it." if on_grid and len(best) < len(points) else ""
    return Plot(
        f"{metric} over {first} and {second}",
        f"Best: {_number(points[0].mean)} at {at}, framed.{shared} Shown: {_number(values.min())} to {_number(values.max())}.",
        figure,
    )


@_drawn
def against_seconds(points: Sequence[Point], metric: str) -> Plot:
    """Draw the metric against seconds of training: what the time buys.

    Joined are those that nothing faster matches (a step for each). Labels are written beside the points where they are few.
    """
    figure, axes = _figure()
    # A model that only counts takes no time that can be measured; the axis needs a place for it.
    seconds = np.maximum([point.seconds for point in points], 1e-3)
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (seconds[index], index)):
        if not front or index < front[-1]:  # better than all that are faster, as the best come first
            front.append(index)
    axes.step(seconds[front], [points[index].mean for index in front], where="post", color=COLOURS["muted"], linewidth=1, zorder=1)
    _with_intervals(axes, seconds, points, 0, faint=True)
    if seconds.max() >= _FAR_APART * seconds.min():
        _log_seconds(axes)
    axes.margins(x=0.14, y=0.12)
    axes.set(title=f"{metric} against seconds", xlabel="seconds of training", ylabel=metric)
    labelled = range(len(points)) if len(points) <= 10 else front[::-1]
    _label_points(axes, [(seconds[index], points[index].mean, points[index].label) for index in labelled])
    best = points[0]
    quick = points[front[0]]
    said = f"Best: {best.label} with {_number(best.mean)} after {best.seconds:.3g} s. Fastest: {quick.label} with {_number(quick.mean)}"
    description = f"{said} after {quick.seconds:.3g} s. The line joins those that nothing faster matches."
    return Plot(f"{metric} against seconds", description, figure)


@_drawn
def curves(given: Sequence[Curve], metric: str, against: str, title: str | None = None) -> Plot:
    """Draw the metric as it grew, against `epoch` or `seconds`; the last value is marked.

    Where the finished model is worth something else than any point of its curve, a star says what.

    Seconds are on a log scale where some curves are far shorter than others. `title` is written above instead of the names.
    """
    figure, axes = _figure()
    for number, curve in enumerate(given):
        colour = _SERIES[number % len(_SERIES)]
        style = "-" if number < len(_SERIES) else "--"
        axes.plot(curve.x, curve.y, style, color=colour, label=_shortened(curve.label))
        axes.plot(curve.x[-1:], curve.y[-1:], _MARKERS[number % len(_MARKERS)], color=colour, markeredgecolor=COLOURS["surface"])
        if curve.interval is not None:
            low, high = zip(*curve.interval, strict=True)
            axes.fill_between(curve.x, low, high, color=colour, alpha=0.2, linewidth=0)
    finished = [
        (number, curve.x[-1], curve.at_the_end)
        for number, curve in enumerate(given)
        if curve.at_the_end is not None and not np.isclose(curve.y, curve.at_the_end, rtol=1e-5).any()
    ]
    for number, x, value in finished:
        axes.plot([x], [value], "*", color=_SERIES[number % len(_SERIES)], markersize=11, markeredgecolor=COLOURS["surface"], zorder=3)
    if finished:
        axes.plot([], [], "*", color=COLOURS["muted"], markersize=9, label=_FINISHED)
    if len(given) > 1 or finished:
        _legend(figure, axes)
    ends_at = [curve.x[-1] for curve in given]
    if against == "seconds" and max(ends_at) >= _FAR_APART * min(ends_at):
        _log_seconds(axes)
    elif against == "epoch":
        _whole(axes.xaxis)
    axes.set(title=title or f"{metric} by {against}", xlabel=against, ylabel=metric)
    ends = ", ".join(f"{curve.label or metric} {_number(curve.y[-1])}" for curve in given)
    stars = ", ".join(f"{given[number].label or metric} {_number(value)}" for number, _, value in finished)
    with_terms = f" Curves are measured while models train; the finished ones, with what is chosen after the last epoch: {stars}."
    return Plot(f"{metric} by {against}", f"{metric} over {against}. Where they end: {ends}.{with_terms if finished else ''}", figure)


@_drawn
def side_by_side(points: Sequence[Point], metric: str, title: str, interval: str) -> Plot:
    """Draw each one's value with its interval, a line each, best on top.

    `interval` says what the interval is over.
    """
    figure, axes = _figure(height=max(2.0, 0.32 * len(points) + 1.1))
    rows = np.arange(len(points))[::-1]
    for row, point in zip(rows, points, strict=True):
        colour = COLOURS["series-1"] if point is points[0] else COLOURS["muted"]
        if point.interval is not None:
            axes.plot(point.interval, [row, row], "-", color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot([point.mean], [row], "o", color=colour, markersize=7, markeredgecolor=COLOURS["surface"])
    axes.set_yticks(rows, [_shortened(point.label) for point in points], color=COLOURS["ink"])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.set(title=title, xlabel=f"{metric} (95 % interval over {interval})", ylim=(-0.6, len(points) - 0.4))
    values = ", ".join(f"{point.label} {_number(point.mean)}" for point in points)
    return Plot(f"{metric} side by side", f"{metric}, best first: {values}.", figure)


@_drawn
def over_seeds(values: Mapping[int, float], metric: str, title: str) -> Plot:
    """Draw the metric of each seed, their mean as a line, and one standard deviation on both sides of it as a band."""
    figure, axes = _figure(height=2.6)
    places, heights = np.arange(len(values)), np.array(list(values.values()), dtype=float)
    mean, spread = heights.mean(), heights.std(ddof=1) if len(heights) > 1 else 0.0
    axes.axhspan(mean - spread, mean + spread, color=COLOURS["series-1"], alpha=0.15, linewidth=0)
    axes.axhline(mean, color=COLOURS["series-1"])
    axes.plot(places, heights, "o", color=COLOURS["ink"], markeredgecolor=COLOURS["surface"])
    axes.set_xticks(places, [str(seed) for seed in values])
    said = f"mean {_number(mean)}" + (f" ± {_number(spread)}" if len(heights) > 1 else "")
    axes.set(title=f"{title}: {said}", xlabel="seed", ylabel=metric, xlim=(-0.5, len(heights) - 0.5))
    each = ", ".join(f"{_number(value)} with seed {seed}" for seed, value in values.items())
    return Plot(f"{metric} over seeds", f"{metric}: {said}; {each}.", figure)


class _Axis:
    """Where the values of a parameter lie: words and switches in a row, numbers at their place, on a log scale where that is even."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        keys = {self.key(value) for value in values}
        self.keys = sorted(keys) if self.numeric else sorted(keys, key=str)
        positive = [key for key in self.keys if self.numeric and key > 0]
        self.log = self.numeric and self.keys[0] >= 0 and len(positive) > 1 and _is_even(np.log(positive), than=np.array(positive))
        self.smallest = positive[0] if positive else 1.0

    def key(self, value: Any) -> Any:
        return float(value) if self.numeric else _text(value)

    def place(self, value: Any) -> float:
        return float(value) if self.numeric else float(self.keys.index(_text(value)))

    def places(self, values: Sequence[Any]) -> np.ndarray:
        return np.array([self.place(value) for value in values])

    def label(self, axes: "Axes", which: str, name: str) -> None:
        """Scale the axis `which`, and mark the values themselves where they are few."""
        axis = axes.xaxis if which == "x" else axes.yaxis
        set_scale = axes.set_xscale if which == "x" else axes.set_yscale
        if self.log and self.keys[0] == 0:
            set_scale("symlog", linthresh=self.smallest, linscale=0.5)
        elif self.log:
            set_scale("log")
        if not self.numeric or len(self.keys) <= 8:
            labels = [_shortened(_text(key)) for key in self.keys]
            crowded = which == "x" and sum(map(len, labels)) > _ROOM
            places = self.keys if self.numeric else list(range(len(self.keys)))
            axis.set_ticks(places, labels, **_turned(crowded))
            axis.set_ticks([], minor=True)
        elif self.log:
            _plain_log(axis)
        elif all(float(key).is_integer() for key in self.keys):
            _whole(axis)
        axis.set_label_text(name)


def _is_even(candidate: np.ndarray, than: np.ndarray) -> bool:
    """Return whether steps between values are more even in `candidate`, over at least three doublings."""
    if candidate[-1] - candidate[0] < math.log(8):
        return False
    spreads = [np.std(steps) / np.mean(steps) for steps in (np.diff(candidate), np.diff(than))]
    return bool(spreads[0] < spreads[1] or len(candidate) == 2)


def _figure(height: float = _HEIGHT) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _with_intervals(axes: "Axes", x: np.ndarray, points: Sequence[Point], number: int, *, linestyle: str = "none", faint: bool = False,
                    **options: Any) -> None:  # fmt: skip
    """Draw points with their intervals, as series `number`; where there are many, the intervals are `faint`."""
    colour, marker = _SERIES[number % len(_SERIES)], _MARKERS[number % len(_MARKERS)]
    means = np.array([point.mean for point in points])
    ends = np.array([point.interval or (point.mean, point.mean) for point in points])
    errors = np.maximum([means - ends[:, 0], ends[:, 1] - means], 0)
    _, caps, bars = axes.errorbar(
        x, means, yerr=errors if errors.any() else None, fmt=marker, linestyle=linestyle, color=colour, capsize=2, elinewidth=1.1,
        markeredgecolor=COLOURS["surface"], markeredgewidth=0.8, **options,
    )  # fmt: skip
    for part in (*caps, *bars):
        part.set_alpha(0.4 if faint else 0.75)
    for limit in ends.T:  # matplotlib does not look at points that stand beside their places
        axes.update_datalim(np.column_stack([x, limit]))
    axes.autoscale_view()


def _log_seconds(axes: "Axes") -> None:
    axes.set_xscale("log")
    _plain_log(axes.xaxis)


def _plain_log(axis: Any) -> None:
    """Mark 1, 2 and 5 of every power of ten, as plain numbers, since powers alone may be one mark or none; of many powers those alone."""
    from matplotlib.ticker import LogLocator, NullFormatter

    def text(value: float, _: int | None) -> str:
        low, high = sorted(abs(end) for end in axis.get_view_interval())
        many = low > 0 and high / low > _MANY_TIMES
        return "" if many and not math.log10(abs(value) or 1.0).is_integer() else _text(float(value))

    if not axis.get_scale().startswith("sym"):
        axis.set_major_locator(LogLocator(10, (1.0, 2.0, 5.0), numticks=24))
    axis.set_major_formatter(text)
    axis.set_minor_formatter(NullFormatter())


def _whole(axis: Any) -> None:
    """Mark whole numbers alone: there is no epoch 1.5."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True))


def _thinned(figure: "Figure", axes: "Axes") -> None:
    """Leave out labels of ticks that would stand over others; their ticks stay.

    Labels are as wide as their letters, which is known only when all is drawn.
    """
    figure.draw_without_rendering()
    for axis, which, gap in ((axes.xaxis, "x", 4.0), (axes.yaxis, "y", 1.0)):
        ticks = [tick for tick in axis.get_major_ticks() if tick.label1.get_visible() and tick.label1.get_text()]
        if any(tick.label1.get_rotation() for tick in ticks):
            which, gap = "x", 0.0  # turned labels stand beside each other by their ends
        low, high = sorted(getattr(axes.bbox, f"interval{axis.axis_name}"))
        spans = []
        for tick in ticks:
            box = tick.label1.get_window_extent()
            place = axes.transData.transform([(tick.get_loc(), tick.get_loc())])[0][0 if axis.axis_name == "x" else 1]
            start, end = (box.x0, box.x1) if which == "x" else (box.y0, box.y1)
            if tick.label1.get_rotation():
                start, end = place - 0.6 * box.height, place
            if low - 1 <= place <= high + 1:
                spans.append((place, start, end, tick))
        spans.sort(key=lambda span: span[0])
        kept_until = -math.inf
        for _, start, end, tick in spans:
            if start < kept_until + gap:
                tick.label1.set_visible(False)
            else:
                kept_until = end


def _points_beside(axes: "Axes", distance: float) -> Any:
    """Return the places of the data, moved to the right by `distance` in 1/72 inch."""
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(distance / 72, 0, axes.figure.dpi_scale_trans)


def _ring(axes: "Axes", x: float, y: float, transform: Any) -> None:
    axes.plot([x], [y], "o", markersize=11, fillstyle="none", color=COLOURS["ink"], transform=transform)


def _legend(figure: "Figure", axes: "Axes", title: str | None = None) -> None:
    """Put the legend below the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    handles = [handle[0] if isinstance(handle, tuple) else handle for handle in handles]  # the point without its interval
    longest = max(map(len, labels))
    rows = -(-len(labels) // max(1, 48 // (longest + 5)))
    columns = -(-len(labels) // rows)
    figure.set_figheight(figure.get_figheight() + 0.18 * rows + (0.2 if title else 0.05))
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=columns, columnspacing=1.4, handletextpad=0.5)


def _colour_map(values: np.ndarray) -> Any:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    low, high = values.min(), values.max()
    return ScalarMappable(Normalize(low, high if high > low else low + 1), colormaps["viridis"].resampled(32))


def _heat_map(axes: "Axes", across: _Axis, up: _Axis, cells: Mapping[tuple[Any, Any], float], colours: Any) -> None:
    """Draw a rectangle a cell, with its number where there is room; `cells` has the best first."""
    from matplotlib.patches import Rectangle

    with_text = len(cells) <= _MOST_CELLS_WITH_TEXT and len(across.keys) <= 8
    for rank, ((x, y), value) in enumerate(cells.items()):
        column, row = across.keys.index(x), up.keys.index(y)
        shade = colours.to_rgba(value)
        letters = "#0d0d0d" if np.dot(shade[:3], (0.299, 0.587, 0.114)) > 0.5 else "#fcfcfc"
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=shade, edgecolor=COLOURS["surface"], linewidth=1.5))
        if with_text:
            weight = "bold" if rank == 0 else "normal"
            axes.text(column, row, _number(value), ha="center", va="center", color=letters, fontsize=8.5, fontweight=weight)
        if rank == 0:
            axes.add_patch(Rectangle((column - 0.42, row - 0.42), 0.84, 0.84, fill=False, edgecolor=letters, linewidth=1.4))
    for axis, set_ticks in ((across, axes.set_xticks), (up, axes.set_yticks)):
        labels = [_shortened(_text(key)) for key in axis.keys]
        crowded = axis is across and sum(map(len, labels)) > _ROOM
        step = 1 if len(labels) <= 20 else 2
        set_ticks(range(0, len(labels), step), labels[::step], **_turned(crowded))
    axes.set(xlim=(-0.5, len(across.keys) - 0.5), ylim=(-0.5, len(up.keys) - 0.5))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _label_points(axes: "Axes", labels: Sequence[tuple[float, float, str]]) -> None:
    """Write labels, the first ones first, above, below or beside their points; one that has no room there is left out."""
    from matplotlib.transforms import Bbox

    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # settles where the axes are
    near = 3 * figure.dpi / 72
    points = axes.transData.transform([(x, y) for x, y, _ in labels])
    own = [Bbox([point - near, point + near]) for point in points]
    taken = list(own)
    inside = axes.bbox
    for (x, y, text), around in zip(labels, own, strict=True):
        for moved, across, up in _BESIDE:
            note = axes.annotate(_shortened(text), (x, y), moved, textcoords="offset points", ha=across, va=up, fontsize=8)
            box = note.get_window_extent()
            within = inside.containsx(box.x0) and inside.containsx(box.x1) and inside.containsy(box.y0) and inside.containsy(box.y1)
            if within and not any(box.overlaps(other) for other in taken if other is not around):
                taken.append(box)
                break
            note.remove()


def _turned(crowded: bool) -> dict[str, Any]:
    """Return how labels that do not fit beside each other are set."""
    return {"rotation": 30, "ha": "right"} if crowded else {}


def _order(point: Point, names: Sequence[str]) -> tuple[tuple[int, float, str], ...]:
    """Return what sorts lines of a plot by those parameters, numbers as numbers."""
    values = [point.parameters[name] for name in names]
    return tuple((0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value)) for value in values)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "".join(letter if letter.isprintable() else "?" for letter in str(value))


def _shortened(text: str, most: int = 24) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _number(value: float) -> str:
    return f"{value:.4f}" if 0.0005 <= abs(value) < 100 or value == 0 else f"{value:.4g}"
