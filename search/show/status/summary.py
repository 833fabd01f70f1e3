"""A study's whole state as text: what `status` prints once, and `start` at its end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from search.analysis.snapshot import Snapshot
from search.show.columns import Column, Columns, hanging
from search.show.status import panels
from search.show.status.glance import URGENT, glance
from search.show.status.overview import Overview
from search.show.status.sweep_table import sweep_table
from search.show.wording import describe
from search.study.results import Confirmed, Noise, bpb_text


def summary(facts: Snapshot, bounds: tuple[float, float] | None = None) -> "Summary":
    """Return what is known of a study; `bounds` are the BPB of guessing and of counting tokens."""
    return Summary(facts, bounds, sweep_table(facts.study) if facts.plan.is_grid else None)


@dataclass(frozen=True)
class Summary:
    """What is known of a study, as wide as the terminal."""

    facts: Snapshot
    bounds: tuple[float, float] | None = None
    grid: RenderableType | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield one part after another, an empty line between them."""
        facts, o, width = self.facts, glance(self.facts), options.max_width
        yield from [*panels.headline(o, width), *(hanging(o.description, width, "") if o.description else [])]
        yield from _apart(panels.progress(o, width))
        yield from _apart(panels.crew(o, width))
        if self.grid is not None:
            yield from (Text(), self.grid)
        if facts.confirmed:
            yield from (Text(), Text(f"{o.study}: confirmed at {o.confirm_budget}", style="bold"))
            yield leaderboard(facts.confirmed, facts.noise, facts.plan.proxy.budget)
        elif self.grid is None:
            yield from _apart(panels.best(o, width))
        yield from _apart([*panels.foretold(o, width), *panels.race(o, width), *panels.spent(o, width)])
        yield from _apart([Text(line) for line in _sentences(facts, self.bounds)])
        yield from _warnings(o, width)


def _apart(lines: Sequence[Text]) -> list[Text]:
    return [Text(), *lines] if lines else []


def _sentences(facts: Snapshot, bounds: tuple[float, float] | None) -> list[str]:
    lines = []
    if bounds:
        lines.append(
            f"For comparison, by counting: untrained model {bounds[0]:.4f} BPB, unigram model {bounds[1]:.4f} BPB."
        )
    lines.append(facts.pruning)
    if facts.confirmed:
        lines.append(facts.transfer.verdict)
    return [line for line in (*lines, facts.hardware) if line]


def _warnings(o: Overview, width: int) -> Iterator[Text]:
    """Yield what to act upon, then what not to trust blindly."""
    urgent = [w for w in o.warnings if w.kind in URGENT]
    yield from _apart([line for w in urgent for line in hanging(w.sentence, width, "! ", "yellow")])
    caveats = [w for w in o.warnings if w not in urgent]
    if caveats:
        yield from (Text(), Text("Caveats:"))
        for caveat in caveats:
            yield from hanging(caveat.sentence, width, " – ", "")


RANKED = (
    Column(name="rank", right=True),
    Column(name="configuration"),
    Column(name="BPB (± 95%)", right=True),
    Column(name="seeds", right=True),
    Column(name="", right=True, weight=1),
    Column(name="parameters", weight=2, below=True),
)


def leaderboard(found: Sequence[Confirmed], noise: Noise, proxy_budget: str) -> Columns:
    """Return the confirmed configurations, the best first."""
    head = [*RANKED[:4], Column(name=f"BPB at {proxy_budget}", right=True, weight=1), RANKED[5]]
    rows = []
    for place, c in enumerate(found, start=1):
        bpb = bpb_text(c.mean_bpb, noise.half_width(c.seeds))
        proxy = f"{c.proxy_bpb:.4f}" if c.proxy_bpb is not None else "–"
        rows.append((str(place), c.label, bpb, str(c.seeds), proxy, describe(c.params)))
    return Columns(head, rows, ["bold"] + [""] * (len(rows) - 1))
