"""The parts of a study at a glance as lines of a terminal, each no wider than it is: pure functions of an overview.

Whatever colours say, the words or signs beside them say too.
"""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from search.common.durations import format_duration
from search.show.columns import GAP, INDENT, Column, Columns, hanging
from search.show.status.overview import Correlation, Counts, Found, Overview, WorkerNow
from search.show.wording import counted, describe, span
from search.study.results import bpb_text

Lines = list[Text]

SPARKS = "▁▂▃▄▅▆▇█"
OPEN, SHUT = "━", "·"
LEAST_BAR, MOST_BAR = 10, 60
LEAD = 15
"""Characters of the words at the left edge."""
PROGRESS = (
    *(Column(name=""), Column(name=""), Column(name="")),
    Column(name="", weight=1, below=True),
)
CREW = (
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
BEST = (
    Column(name="best so far"),
    Column(name="configuration"),
    Column(name="BPB (± 95%)", right=True),
    Column(name="seeds", right=True, weight=2),
    Column(name="parameters", weight=3, below=True),
)


def headline(o: Overview, width: int) -> Lines:
    """Return what it is, how long it has run and how long it will."""
    alive = [w for w in o.workers if w.state == "alive"]
    devices = {w.device for w in alive}
    parts = [o.state, *([counted(len(alive), "worker")] if alive else [])]
    if o.elapsed_seconds:
        parts.append(f"{span(o.elapsed_seconds)} so far")
    if o.eta_seconds is not None and o.state == "running":
        parts.append(f"about {span(o.eta_seconds)} to the {'cap' if o.cost.capped else 'end'}")
    if len(devices) == 1 and len(o.study) + len(" · ".join([*parts, *devices])) + 2 <= width:
        parts += devices
    lead = f"{o.study}  "
    lines = hanging(" · ".join(parts), width, lead if len(lead) < width / 2 else INDENT, "")
    lines[0].stylize("bold", 0, len(lead))
    return lines if len(lead) < width / 2 else [Text(o.study, style="bold"), *lines]


def progress(o: Overview, width: int) -> Lines:
    """Return trials by state, with a bar for each fidelity."""
    kinds = [("runs" if o.kind == "grid" else "proxies", o.proxies)]
    if o.confirmations.asked:
        kinds.append(("confirmations", o.confirmations))
    said = [(f"{name:<{LEAD - 2}}", share(counts), _states(counts), counts) for name, counts in kinds]
    words = max(map(len, (of for _, of, _, _ in said))) + max(map(len, (states for _, _, states, _ in said)))
    bar = max(LEAST_BAR, min(MOST_BAR, width - LEAD - 2 * len(GAP) - words))
    rows = [(name, _bar(counts, bar), of, states) for name, of, states, counts in said]
    return Columns(PROGRESS, rows).lines(width)[1:]


def share(counts: Counts) -> str:
    """Return how many have ended, of how many there will be."""
    about = "about " if counts.estimated and counts.to_come else ""
    return f"{counts.ended} of {about}{counts.asked}"


def _bar(counts: Counts, width: int) -> Text:
    """Return a line of which each part is as long as its share, told apart by sign as well as by colour."""
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


def _states(counts: Counts) -> str:
    named = (
        *((counts.complete, "complete"), (counts.pruned, "pruned"), (counts.failed, "failed")),
        *((counts.running, "running"), (counts.lost, "lost and repeated")),
    )
    return ", ".join(f"{number} {name}" for number, name in named if number) or "none yet"


def crew(o: Overview, width: int, most: int | None = None) -> Lines:
    """Return the workers and what each does; of more than `most` those that work, and how many others there are."""
    workers = o.workers  # in one order, so that rows stay where they are
    if most is not None and len(workers) > most:
        workers = sorted(workers, key=lambda w: (w.state != "dead", not w.run))
    shown = workers[:most]
    if not shown:
        return []
    same = len({w.device for w in o.workers}) == 1
    rows = [_crew_row(w, "" if same else w.device) for w in shown]
    styles = ["yellow" if w.state == "dead" else "" if w.run else "dim" for w in shown]
    lines = Columns(CREW, rows, styles).lines(width)
    left = workers[len(shown) :]
    if left:
        busy = sum(bool(w.run) for w in left)
        lines.append(Text(f"and {len(left)} more: {busy} training, {len(left) - busy} idle", style="dim"))
    return lines


def _crew_row(worker: WorkerNow, device: str) -> tuple[str | Text, ...]:
    dead = worker.state == "dead"
    does = f"silent for {span(worker.silent_seconds)}" if dead else worker.run or "idle"
    done = round(worker.percent / 10)
    return (
        worker.name,
        does,
        Text.assemble(("━" * done, "green"), ("·" * (10 - done), "dim")) if worker.run and not dead else "",
        f"{worker.percent}%" if worker.run else "",
        f"{worker.tokens_per_second:,.0f}" if worker.tokens_per_second else "",
        str(worker.trials),
        f"{worker.usd:.2f}" if worker.usd >= 0.005 else "",
        worker.launch,
        device,
    )


def best(o: Overview, width: int, *, brief: bool = False) -> Lines:
    """Return the best proxy and the best confirmed, the baseline beside each; `brief` leaves parameters out."""
    rows = []
    proxy = "run" if o.kind == "grid" else "proxy"
    for name, found, others in (
        (f"{proxy}, {o.proxy_budget}", o.best_proxy, {"by hand": o.baseline_proxy}),
        (
            f"confirmed, {o.confirm_budget}",
            o.best_confirmed,
            {"by hand": o.baseline_confirmed, "searched": o.searched_confirmed},
        ),
    ):
        if found is None:
            continue
        known = name.startswith("confirmed")
        rows.append(_best_row(name, found, known, "" if brief else describe(found.parameters)))
        rows += [
            _best_row(f"  {kind}", other, known, "")
            for kind, other in others.items()
            if other is not None and other.label != found.label
        ]
    return (
        Columns(BEST, rows, ["" if not row[0].startswith(" ") else "dim" for row in rows]).lines(width) if rows else []
    )


def _best_row(name: str, found: Found, known: bool, params: str) -> tuple[str, ...]:
    return name, found.label, bpb_text(found.bpb, found.half_width), str(found.seeds) if known else "", params


def foretold(o: Overview, width: int) -> Lines:
    """Return the correlation by progress as a sparkline, with the gate below it."""
    c = o.correlation
    if o.kind == "grid" or not c.steps:
        return []
    if c.finished < c.needed:
        said = f"shut: {c.finished} of {c.needed} proxies that must finish first"
        return hanging(said, width, f"{'pruning gate':<{LEAD}}", "")
    sparks = "".join(SPARKS[min(7, int(max(0.0, s.rho) * 8))] for s in c.steps)
    gate = "".join(OPEN if s.open else SHUT for s in c.steps)
    few = [c.steps[0], c.steps[len(c.steps) // 2], c.steps[-1]] if len(c.steps) > 2 else c.steps
    said = ", ".join(f"{s.rho:.2f} (≥ {s.bound:.2f}) at {s.percent}%" for s in few)
    opened = _gate(c)
    if o.proxies.pruned:
        opened += f"; {o.proxies.pruned} pruned saved {format_duration(o.pruning_saved_seconds)}"
    if LEAD + len(sparks) + 2 + cell_len(said) > width:
        said = f"{few[0].rho:.2f} at {few[0].percent}%, {few[-1].rho:.2f} at {few[-1].percent}%"
    return [
        *_led("ρ by progress", Text(sparks, style="cyan"), said, width),
        *_led("pruning gate", Text(gate, style="green"), opened, width),
    ]


def _gate(c: Correlation) -> str:
    """Return where the gate is open."""
    if c.open_from is not None:
        return f"open from {c.open_from}% on"
    count = sum(s.open for s in c.steps)
    return f"open at {count} of {len(c.steps)} reports" if count else "shut: not proven (95%) that losses tell anything"


def _led(name: str, drawing: Text, said: str, width: int) -> Lines:
    """Return a drawing behind its name, with what it says beside it, or below where there is no room."""
    line = Text(f"{name:<{LEAD}}") + drawing
    if len(line) + 2 + cell_len(said) <= width:
        return [line.append(f"  {said}")]
    return [line, *hanging(said, width, " " * LEAD, "")]


def spent(o: Overview, width: int) -> Lines:
    """Return hours and dollars, spent and projected."""
    c = o.cost
    ends = o.state != "finished"
    hours = f"{c.hours:.2f} of about {c.hours_projected:.2f}" if ends else f"{c.hours:.2f}"
    usd = f"${c.usd:.2f} of about ${c.usd_projected:.2f}" if ends else f"${c.usd:.2f}"
    usd += f" (cap ${c.max_usd:.2f})" if c.max_usd else ""
    priced = c.usd >= 0.005 or c.usd_projected >= 0.005 or c.max_usd
    return hanging(f"{hours} worker hours" + (f"; {usd}" if priced else ""), width, f"{'spent':<{LEAD}}", "")


def transfer(o: Overview, width: int) -> Lines:
    """Return whether the proxy foretold what was confirmed, once there are pairs enough to tell."""
    t = o.transfer
    if t.tau is None:
        return []
    shown = "the proxy predicts" if t.proven else "proxy NOT shown to predict"
    said = f"{shown}: τ {t.tau:.2f} (95% {t.low:.2f} … {t.high:.2f}), {t.pairs} pairs"
    return hanging(said, width, f"{'transfer':<{LEAD}}", "" if t.proven else "yellow")


def race(o: Overview, width: int) -> Lines:
    """Return where the race is."""
    said = o.race.removeprefix("Race: ").rstrip(".")
    return hanging(said, width, f"{'race':<{LEAD}}", "") if said else []


def warnings(o: Overview, width: int, most: int | None = None) -> Lines:
    """Return what to act upon and what not to trust, up to so many."""
    shown = o.warnings if most is None else o.warnings[:most]
    lines = [line for w in shown for line in hanging(w.sentence, width, "! ", "yellow")]
    left = len(o.warnings) - len(shown)
    return [*lines, Text(f"! and {left} more: lilm-search status --study {o.study}", style="yellow")] if left else lines


def beside(left: Sequence[Text], right: Sequence[Text], gap: int = 4) -> Lines:
    """Return two parts side by side."""
    width = max(cell_len(line.plain) for line in left) + gap
    lines = []
    for i in range(max(len(left), len(right))):
        line = left[i].copy() if i < len(left) else Text()
        line.append(" " * (width - cell_len(line.plain)))
        lines.append(line + right[i] if i < len(right) else line)
    return lines
