"""A study's state as text, which `status` prints, and `start` at its end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from search.analysis.snapshot import Snapshot
from search.show.columns import Column, Columns, hanging
from search.show.status import panels
from search.show.status.overview import Overview
from search.show.status.study_overview import URGENT, study_overview
from search.show.status.sweep_table import sweep_table
from search.show.wording import describe


def summary(snapshot: Snapshot, bounds: tuple[float, float] | None = None) -> "Summary":
    """Return a study's summary; `bounds` are the BPB of the untrained and of the unigram model."""
    return Summary(snapshot, bounds, sweep_table(snapshot.study) if snapshot.plan.is_grid else None)


@dataclass(frozen=True)
class Summary:
    """A study's summary as a renderable, as wide as the terminal."""

    snapshot: Snapshot
    bounds: tuple[float, float] | None = None
    grid: RenderableType | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield the parts, with empty lines between them."""
        snapshot, overview, width = self.snapshot, study_overview(self.snapshot), options.max_width
        yield from [
            *panels.headline(overview, width),
            *(hanging(overview.description, width, "") if overview.description else []),
        ]
        yield from _after_empty_line(panels.progress(overview, width))
        yield from _after_empty_line(panels.workers(overview, width))
        if self.grid is not None:
            yield from (Text(), self.grid)
        if snapshot.confirmed:
            yield from (Text(), Text(f"{overview.study}: confirmed at {overview.confirm_budget}", style="bold"))
            yield confirmed_table(snapshot)
        elif self.grid is None:
            yield from _after_empty_line(panels.best(overview, width))
        yield from _after_empty_line(
            [*panels.correlation(overview, width), *panels.race(overview, width), *panels.cost(overview, width)]
        )
        yield from _after_empty_line([Text(line) for line in _sentences(snapshot, self.bounds)])
        yield from _warnings(overview, width)


def _after_empty_line(lines: Sequence[Text]) -> list[Text]:
    return [Text(), *lines] if lines else []


def _sentences(snapshot: Snapshot, bounds: tuple[float, float] | None) -> list[str]:
    lines = []
    if bounds:
        lines.append(
            f"For comparison, by counting: untrained model {bounds[0]:.4f} BPB, unigram model {bounds[1]:.4f} BPB."
        )
    lines.append(snapshot.pruning)
    if snapshot.confirmed:
        lines.append(snapshot.transfer.verdict)
        lines.append(snapshot.predictions_line)
    return [line for line in (*lines, snapshot.hardware) if line]


def _warnings(overview: Overview, width: int) -> Iterator[Text]:
    """Yield the warnings that ask the user to act, then the caveats."""
    urgent = [w for w in overview.warnings if w.kind in URGENT]
    yield from _after_empty_line([line for w in urgent for line in hanging(w.sentence, width, "! ", "yellow")])
    caveats = [w for w in overview.warnings if w not in urgent]
    if caveats:
        yield from (Text(), Text("Caveats:"))
        for caveat in caveats:
            yield from hanging(caveat.sentence, width, " – ", "")


RANKING_COLUMNS = (
    Column(name="rank", right=True),
    Column(name="configuration"),
    Column(name="BPB (± 95%)", right=True),
    Column(name="seeds", right=True),
    Column(name="", right=True, weight=1),
    Column(name="mean", right=True, weight=2),
    Column(name="parameters", weight=3, below=True),
)


def confirmed_table(snapshot: Snapshot) -> Columns:
    """Return the confirmed configurations, the best mean first."""
    at_proxy = Column(name=f"BPB at {snapshot.plan.proxy.budget}", right=True, weight=1)
    head = [*RANKING_COLUMNS[:4], at_proxy, *RANKING_COLUMNS[5:]]
    rows = []
    for place, c in enumerate(snapshot.confirmed, start=1):
        bpb, mean = snapshot.estimates[c.key].text, f"{c.mean_bpb:.4f}"
        proxy = f"{c.proxy_bpb:.4f}" if c.proxy_bpb is not None else "–"
        rows.append((str(place), c.label, bpb, str(c.seeds), proxy, mean, describe(c.params)))
    return Columns(head, rows, ["bold"] + [""] * (len(rows) - 1))
