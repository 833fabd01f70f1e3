"""The parts of the screen as lines of text, none wider than the terminal: pure functions of an overview.

Colours carry nothing that words or signs don't say too.
"""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from search.common.durations import format_duration
from search.show.columns import GAP, INDENT, Column, Columns, hanging
from search.show.status.overview import BestResult, Correlation, Overview, TrialCounts, WorkerStatus
from search.show.wording import counted, describe, rough_duration
from search.study.results import bpb_text

Lines = list[Text]

SPARKS = "▁▂▃▄▅▆▇█"
OPEN, CLOSED = "━", "·"
LEAST_BAR, MOST_BAR = 10, 60
LABEL_WIDTH = 15
"""Width of the labels at the left edge, in characters."""
PROGRESS_COLUMNS = (
    *(Column(name=""), Column(name=""), Column(name="")),
    Column(name="", weight=1, below=True),
)
WORKER_COLUMNS = (
    Column(name="worker"),
    Column(name="does"),
    Column(name="", weight=2),
    Column(name="%", right=True),
    Column(name="tokens/s", right=True, weight=1),
    Column(name="trials", right=True, weight=3),
    Column(name="$", right=True, weight=5),
    Column(name="rented as", weight=4),
    Column(name="device", weight=6),
)
BEST_COLUMNS = (
    Column(name="best so far"),
    Column(name="configuration"),
    Column(name="BPB (± 95%)", right=True),
    Column(name="seeds", right=True, weight=2),
    Column(name="parameters", weight=3, below=True),
)


def headline(overview: Overview, width: int) -> Lines:
    """Return the study's name, its state, its time so far and to its end, and the device if there is only one."""
    alive = [w for w in overview.workers if w.state == "alive"]
    devices = {w.device for w in alive}
    parts = [overview.state, *([counted(len(alive), "worker")] if alive else [])]
    if overview.elapsed_seconds:
        parts.append(f"{rough_duration(overview.elapsed_seconds)} so far")
    if overview.eta_seconds is not None and overview.state == "running":
        parts.append(f"about {rough_duration(overview.eta_seconds)} to the {'cap' if overview.cost.capped else 'end'}")
    if len(devices) == 1 and len(overview.study) + len(" · ".join([*parts, *devices])) + 2 <= width:
        parts += devices
    name = f"{overview.study}  "
    lines = hanging(" · ".join(parts), width, name if len(name) < width / 2 else INDENT, "")
    lines[0].stylize("bold", 0, len(name))
    return lines if len(name) < width / 2 else [Text(overview.study, style="bold"), *lines]


def progress(overview: Overview, width: int) -> Lines:
    """Return the numbers of trials by state, with a bar, for each fidelity."""
    kinds = [("runs" if overview.kind == "grid" else "proxies", overview.proxies)]
    if overview.confirmations.asked:
        kinds.append(("confirmations", overview.confirmations))
    rows = [(f"{name:<{LABEL_WIDTH - 2}}", ended_of_all(counts), _states(counts), counts) for name, counts in kinds]
    text_width = max(map(len, (ended for _, ended, _, _ in rows))) + max(map(len, (states for _, _, states, _ in rows)))
    bar_width = max(LEAST_BAR, min(MOST_BAR, width - LABEL_WIDTH - 2 * len(GAP) - text_width))
    table_rows = [(name, _bar(counts, bar_width), ended, states) for name, ended, states, counts in rows]
    return Columns(PROGRESS_COLUMNS, table_rows).lines(width)[1:]


def ended_of_all(counts: TrialCounts) -> str:
    """Return how many trials have ended, of how many: "3 of about 12"."""
    about = "about " if counts.estimated and counts.to_come else ""
    return f"{counts.ended} of {about}{counts.asked}"


def _bar(counts: TrialCounts, width: int) -> Text:
    """Return a bar whose parts are as long as the states' shares, with a sign and a colour for each state."""
    parts = (
        *((counts.complete, "━", "green"), (counts.pruned, "╍", "cyan"), (counts.failed, "×", "red")),
        *((counts.running, "─", "bold"), (counts.to_come, "·", "dim")),
    )
    bar, so_far = Text(), 0
    for number, sign, style in parts:
        so_far += number
        bar.append(sign * (round(width * so_far / max(1, counts.asked)) - len(bar)), style)
    bar.append("·" * (width - len(bar)), "dim")
    return bar


def _states(counts: TrialCounts) -> str:
    named = (
        *((counts.complete, "complete"), (counts.pruned, "pruned"), (counts.failed, "failed")),
        *((counts.running, "running"), (counts.lost, "lost and repeated")),
    )
    return ", ".join(f"{number} {name}" for number, name in named if number) or "none yet"


def workers(overview: Overview, width: int, most: int | None = None) -> Lines:
    """Return a row for each worker; of more than `most`, dead and busy ones first, and the number of the others."""
    workers = overview.workers  # always in the same order, so that rows don't jump
    if most is not None and len(workers) > most:
        workers = sorted(workers, key=lambda w: (w.state != "dead", not w.run))
    listed = workers[:most]
    if not listed:
        return []
    one_device = len({w.device for w in overview.workers}) == 1
    rows = [_worker_row(w, "" if one_device else w.device) for w in listed]
    styles = ["yellow" if w.state == "dead" else "" if w.run else "dim" for w in listed]
    lines = Columns(WORKER_COLUMNS, rows, styles).lines(width)
    others = workers[len(listed) :]
    if others:
        training = sum(bool(w.run) for w in others)
        lines.append(Text(f"and {len(others)} more: {training} training, {len(others) - training} idle", style="dim"))
    return lines


def _worker_row(worker: WorkerStatus, device: str) -> tuple[str | Text, ...]:
    dead = worker.state == "dead"
    does = f"silent for {rough_duration(worker.silent_seconds)}" if dead else worker.run or "idle"
    tenths = round(worker.percent / 10)
    return (
        worker.name,
        does,
        Text.assemble(("━" * tenths, "green"), ("·" * (10 - tenths), "dim")) if worker.run and not dead else "",
        f"{worker.percent}%" if worker.run else "",
        f"{worker.tokens_per_second:,.0f}" if worker.tokens_per_second else "",
        str(worker.trials),
        f"{worker.usd:.2f}" if worker.usd >= 0.005 else "",
        worker.launch,
        device,
    )


def best(overview: Overview, width: int, *, brief: bool = False) -> Lines:
    """Return the best proxy and the best confirmed configuration, with the baseline below each.

    `brief` leaves parameters out.
    """
    rows = []
    short_run = "run" if overview.kind == "grid" else "proxy"
    for name, result, compared in (
        (f"{short_run}, {overview.proxy_budget}", overview.best_proxy, {"by hand": overview.baseline_proxy}),
        (
            f"confirmed, {overview.confirm_budget}",
            overview.best_confirmed,
            {"by hand": overview.baseline_confirmed, "searched": overview.searched_confirmed},
        ),
    ):
        if result is None:
            continue
        confirmed = name.startswith("confirmed")
        rows.append(_best_row(name, result, confirmed, "" if brief else describe(result.parameters)))
        rows += [
            _best_row(f"  {kind}", other, confirmed, "")
            for kind, other in compared.items()
            if other is not None and other.label != result.label
        ]
    styles = ["dim" if row[0].startswith(" ") else "" for row in rows]
    return Columns(BEST_COLUMNS, rows, styles).lines(width) if rows else []


def _best_row(name: str, result: BestResult, confirmed: bool, parameters: str) -> tuple[str, ...]:
    bpb = bpb_text(result.bpb, result.half_width)
    return name, result.label, bpb, str(result.seeds) if confirmed else "", parameters


def correlation(overview: Overview, width: int) -> Lines:
    """Return the correlation at each report as a sparkline, with the pruner's gate below it."""
    correlation = overview.correlation
    if overview.kind == "grid" or not correlation.steps:
        return []
    if correlation.finished < correlation.needed:
        figures = f"not known yet: {correlation.finished} of the {correlation.needed} proxies that must finish first"
        return hanging(figures, width, f"{'pruning gate':<{LABEL_WIDTH}}", "")
    sparks = "".join(SPARKS[min(7, int(max(0.0, s.rho) * 8))] for s in correlation.steps)
    gate = "".join(OPEN if s.open else CLOSED for s in correlation.steps)
    steps = correlation.steps
    quoted = [steps[0], steps[len(steps) // 2], steps[-1]] if len(steps) > 2 else steps
    figures = ", ".join(f"{s.rho:.2f} (≥ {s.bound:.2f}) at {s.percent}%" for s in quoted)
    where_open = _gate(correlation)
    if overview.proxies.pruned:
        where_open += f"; {overview.proxies.pruned} pruned saved {format_duration(overview.pruning_saved_seconds)}"
    if LABEL_WIDTH + len(sparks) + 2 + cell_len(figures) > width:
        figures = f"{quoted[0].rho:.2f} at {quoted[0].percent}%, {quoted[-1].rho:.2f} at {quoted[-1].percent}%"
    return [
        *_labelled("ρ by progress", Text(sparks, style="cyan"), figures, width),
        *_labelled("pruning gate", Text(gate, style="green"), where_open, width),
    ]


def _gate(correlation: Correlation) -> str:
    """Return at which reports the gate is open."""
    if correlation.open_from is not None:
        return f"open from {correlation.open_from}% on"
    count = sum(s.open for s in correlation.steps)
    reports = len(correlation.steps)
    return f"open at {count} of {reports} reports" if count else "shut: not proven (95%) that losses tell anything"


def _labelled(name: str, drawing: Text, text: str, width: int) -> Lines:
    """Return a labelled drawing with its text beside it, or below it if there is no room."""
    line = Text(f"{name:<{LABEL_WIDTH}}") + drawing
    if len(line) + 2 + cell_len(text) <= width:
        return [line.append(f"  {text}")]
    return [line, *hanging(text, width, " " * LABEL_WIDTH, "")]


def cost(overview: Overview, width: int) -> Lines:
    """Return worker hours and dollars, so far and projected."""
    cost = overview.cost
    unfinished = overview.state != "finished"
    hours = f"{cost.hours:.2f} of about {cost.hours_projected:.2f}" if unfinished else f"{cost.hours:.2f}"
    usd = f"${cost.usd:.2f} of about ${cost.usd_projected:.2f}" if unfinished else f"${cost.usd:.2f}"
    usd += f" (cap ${cost.max_usd:.2f})" if cost.max_usd else ""
    priced = cost.usd >= 0.005 or cost.usd_projected >= 0.005 or cost.max_usd
    return hanging(f"{hours} worker hours" + (f"; {usd}" if priced else ""), width, f"{'spent':<{LABEL_WIDTH}}", "")


def transfer(overview: Overview, width: int) -> Lines:
    """Return whether proxies predict the confirmed order; empty if there are too few pairs to tell."""
    transfer = overview.transfer
    if transfer.tau is None:
        return []
    verdict = "the proxy predicts" if transfer.proven else "proxy NOT shown to predict"
    text = f"{verdict}: τ {transfer.tau:.2f} (95% {transfer.low:.2f} … {transfer.high:.2f}), {transfer.pairs} pairs"
    return hanging(text, width, f"{'transfer':<{LABEL_WIDTH}}", "" if transfer.proven else "yellow")


def race(overview: Overview, width: int) -> Lines:
    """Return the race's state; empty before it began."""
    state = overview.race.removeprefix("Race: ").rstrip(".")
    return hanging(state, width, f"{'race':<{LABEL_WIDTH}}", "") if state else []


def warnings(overview: Overview, width: int, most: int | None = None) -> Lines:
    """Return the warnings, at most `most`, and the number of the others."""
    listed = overview.warnings if most is None else overview.warnings[:most]
    lines = [line for w in listed for line in hanging(w.sentence, width, "! ", "yellow")]
    others = len(overview.warnings) - len(listed)
    more = Text(f"! and {others} more: lilm-search status --study {overview.study}", style="yellow")
    return [*lines, more] if others else lines


def side_by_side(left: Sequence[Text], right: Sequence[Text], gap: int = 4) -> Lines:
    """Return two parts side by side."""
    width = max(cell_len(line.plain) for line in left) + gap
    lines = []
    for i in range(max(len(left), len(right))):
        line = left[i].copy() if i < len(left) else Text()
        line.append(" " * (width - cell_len(line.plain)))
        lines.append(line + right[i] if i < len(right) else line)
    return lines
