"""What people see in a terminal: progress, status, leaderboard."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from search.caveats import Caveat, caveats
from search.duration import format_duration
from search.fleet import LocalWorker
from search.machine import hardware_line
from search.preparation import Progress as OnProgress
from search.pruned import pruning_lines
from search.race_view import race_line
from search.results import Confirmed, bpb_text, confirmed, noise, transfer
from search.run import run_label
from search.spending import run_usd, study_bill
from search.study import LinkedStudy, finished
from search.sweep import sweep_table


def outcome(trial: FrozenTrial, proxy: bool) -> str:
    """Return one line that says what became of a finished trial."""
    label = f"{run_label(proxy, trial.number):<16}"
    attrs = trial.user_attrs
    known = {"baseline": "baseline {}", "confirms": "of trial {}", "grid": describe(trial.params), "seed": "seed {}"}
    scaled = f", lr × {attrs['lr_scale']:g}" if attrs.get("lr_scale", 1.0) != 1 else ""
    scaled += f", budget scaled × {attrs['budget_scale']:.2f}" if "budget_scale" in attrs else ""
    who = ", ".join(text.format(attrs[key]) for key, text in known.items() if key in attrs) + scaled
    if trial.state == TrialState.COMPLETE:
        return f"{label} {trial.value:.4f} BPB  {attrs.get('tokens', 0):>12,} tokens  {who}".rstrip()
    if trial.state == TrialState.PRUNED:
        return f"{label} pruned at {trial.last_step}% with {trial.value:.4f} BPB"
    return f"{label} failed: {attrs.get('failure', 'unknown')} {who}".rstrip()


def counts_line(study: LinkedStudy) -> str:
    """Return trials by state, with the number asked for."""
    parts = []
    for name, trials in (("proxies", study.proxy_trials()), ("confirmations", study.confirm_trials())):
        by_state = Counter(t.state.name.lower() for t in trials)
        states = ", ".join(f"{n} {state}" for state, n in sorted(by_state.items()))
        parts.append(f"{name}: {states or 'none yet'}")
    asked = f"(of {study.plan.proxy.trials} proxies asked for)"
    return f"{'; '.join(parts if study.plan.confirmations else parts[:1])} {asked}"


class LiveDisplay:
    """Progress of a running study: a line for each finished trial, and below them bars where it is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: set[tuple[bool, int]] = set()
        columns = (
            TextColumn("{task.description:>13}"),
            BarColumn(30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._progress = Progress(*columns, console=console)
        self._bars = [self._progress.add_task(n, total=None, note="") for n in ("proxies", "confirmations")]
        self._live = Live(self._progress, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Print one line that stays."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def know(self, study: LinkedStudy) -> None:
        """Take what has already finished as seen, so that a resumed study doesn't list it again."""
        for proxy, trials in ((True, study.proxy_trials()), (False, study.confirm_trials())):
            self._seen |= {(proxy, t.number) for t in trials if t.state.is_finished()}

    def update(self, study: LinkedStudy, workers: Iterable[LocalWorker]) -> None:
        """Print what has finished since the last call, and move the bars."""
        alive = sum(w.process.poll() is None for w in workers)
        for proxy, trials, bar in ((True, study.proxy_trials(), 0), (False, study.confirm_trials(), 1)):
            ended = [t for t in trials if t.state.is_finished()]
            for trial in ended:
                if (proxy, trial.number) not in self._seen:
                    self._seen.add((proxy, trial.number))
                    self.say(outcome(trial, proxy))
            total = study.plan.proxy.trials if proxy else study.plan.confirmations
            best = min((t.value for t in finished(trials) if t.value is not None), default=None)
            note = f"best {best:.4f} BPB" if best is not None else ""
            note += f", {alive} workers" if proxy else ""
            done = len([t for t in ended if t.state != TrialState.FAIL])
            shown = bool(total or done)
            self._progress.update(self._bars[bar], completed=done, total=max(total, done, 1), note=note, visible=shown)


@contextmanager
def preparing(console: Console) -> Iterator[OnProgress]:
    """Show the preparation of data: a bar for each stage in a terminal, a line for each elsewhere."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(30),
        TextColumn("{task.fields[amount]}"),
    )
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                if not console.is_terminal:
                    console.print(f"preparing: {stage}", highlight=False)
                tasks[stage] = bars.add_task(stage, total=total, amount="")
            amount = f"{done / 1e6:.1f} MB" if done else ""
            bars.update(tasks[stage], completed=done, total=total, amount=amount)

        yield show


def leaderboard(study: LinkedStudy, found: list[Confirmed]) -> Table:
    """Return the confirmed configurations, the best first."""
    pooled = noise(found)
    table = Table(
        title=f"{study.plan.name}: confirmed at {study.plan.confirm.budget}",
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("rank", justify="right")
    table.add_column("configuration")
    table.add_column("BPB (± 95%)", justify="right")
    table.add_column("seeds", justify="right")
    table.add_column(f"BPB at {study.plan.proxy.budget}", justify="right")
    table.add_column("parameters")
    for place, c in enumerate(found, start=1):
        bpb = bpb_text(c.mean_bpb, pooled.half_width(len(c.bpb_by_seed)))
        proxy = f"{c.proxy_bpb:.4f}" if c.proxy_bpb is not None else "–"
        style = "bold" if place == 1 else ""
        table.add_row(str(place), c.label, bpb, str(len(c.bpb_by_seed)), proxy, describe(c.params), style=style)
    return table


def describe(params: Any) -> str:
    """Return a configuration's searched values on one line, in the field's shorthand."""
    p = dict(params)
    heads = [f"{p.pop('n_layer')}L" if "n_layer" in p else ""]
    if {"n_head", "head_dim"} <= p.keys():
        n_head, head_dim = p.pop("n_head"), p.pop("head_dim")
        heads += [f"d{n_head * head_dim}", f"{n_head}h"]
    short = {"max_lr": "lr", "vocab_size": "vocab", "batch_size": "batch"}
    rest = [f"{short.get(k, k)} {v:.2g}" if isinstance(v, float) else f"{short.get(k, k)} {v}" for k, v in p.items()]
    return " ".join([*filter(None, heads), *rest])


def spent_line(study: LinkedStudy) -> str:
    """Return the workers' time in finished trials, and the dollars of all their time."""
    trials = [*study.proxy_trials(), *study.confirm_trials()]
    seconds = sum(t.user_attrs.get("total_seconds", 0.0) for t in trials)
    bill = study_bill(study)
    price = f" Spent on workers: ${bill.spent:.2f}" if bill.spent >= 0.005 or bill.cap else ""
    price += f" of ${bill.cap:.2f} (max_usd)" if bill.cap else ""
    price += f", ${bill.bound:.2f} more until the runs under way end" if bill.bound >= 0.005 else ""
    return f"Worker time in finished trials: {format_duration(seconds)}.{price + '.' if price else ''}"


def cap_line(study: LinkedStudy) -> str:
    """Return what the cost cap keeps from being started; empty where it doesn't, or there is none."""
    plan, bill = study.plan, study_bill(study)
    kinds = [(plan.confirm, study.confirm_trials()), (plan.proxy, study.proxy_trials())]
    if study.proxy_queue.slots() < plan.proxy.trials:
        kinds.reverse()
    elif not any(not t.state.is_finished() for t in study.confirm_trials()):
        return ""
    fidelity, trials = kinds[0]
    usd = run_usd(trials, fidelity.budget_seconds, plan.cost.usd_per_gpu_hour)
    return "" if bill.fits(usd) else f"C{bill.refusal(plan.name, usd)[1:]}"


def summary(study: LinkedStudy, bounds: tuple[float, float] | None = None) -> Group:
    """Return what is known of a study: counts, leaderboard, pruning, transfer, time."""
    parts: list[Any] = [Text(counts_line(study))]
    if study.plan.is_grid:
        parts += [Text(), sweep_table(study)]
    found = confirmed(study)
    if found:
        parts += [Text(), leaderboard(study, found)]
    if found or study.plan.is_grid:
        parts.append(Text())
    if bounds:
        uniform, unigram = bounds
        parts.append(
            Text(f"For comparison, by counting: untrained model {uniform:.4f} BPB, unigram model {unigram:.4f} BPB.")
        )
    if finished(study.proxy_trials()) and not study.plan.is_grid:
        parts.append(Text(pruning_lines(study)))
    if found:
        parts.append(Text(transfer(found).verdict))
    lines = [race_line(study), hardware_line(study), spent_line(study), cap_line(study)]
    parts += [Text(line) for line in lines if line]
    warned = caveats(study.plan, study.proxy_trials(), found)
    if warned:
        parts += [Text(), Text("Caveats:"), bullets(warned)]
    return Group(*parts)


def bullets(warned: Iterable[Caveat]) -> Table:
    """Return one sentence to a line; those that are longer hang under themselves."""
    table = Table.grid(padding=(0, 1))
    for caveat in warned:
        table.add_row("–", Text(caveat.sentence))
    return table
