"""A study at a glance, as one record: what the console shows and `status --json` prints."""

from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 1
"""Rises when a field goes or changes its meaning; a new field leaves it."""


def told(doc: str) -> Any:
    """Return a record's field with what it means, which its schema says too."""
    return field(metadata={"doc": doc})


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The trials of one fidelity by state."""

    asked: int = told("How many there will be; of confirmation runs an estimate while the race goes on.")
    estimated: bool = told("Whether `asked` is an estimate.")
    complete: int = told("Trained to the end.")
    pruned: int = told("Stopped because they were proven hopeless.")
    failed: int = told("Failed by their own fault.")
    lost: int = told("Lost with their worker, or handed back, and queued again as other trials.")
    running: int = told("Being trained.")
    to_come: int = told("Not started.")

    @property
    def ended(self) -> int:
        """Those that count among the asked and need no more work."""
        return self.complete + self.pruned + self.failed


@dataclass(frozen=True, kw_only=True)
class WorkerNow:
    """A worker that hasn't ended."""

    name: str = told("HOST/PROCESS-TOKEN.")
    launch: str = told("The rented machine's name; empty where nobody rented it.")
    device: str = told("The GPU or processor.")
    state: str = told("alive, or dead: silent for longer than the grace.")
    run: str = told("What it trains, `trial 7` or `confirmation 3`; empty while it is idle.")
    percent: int = told("Of its run's budget, at the last report.")
    tokens_per_second: float | None = told("In the last run that it finished.")
    trials: int = told("That it has trained to the end or to pruning.")
    usd_per_hour: float = told("Price.")
    usd: float = told("So far.")
    silent_seconds: float = told("Since its last sign of life.")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A configuration with its result."""

    label: str = told("`trial 7`, or `baseline NAME`.")
    bpb: float = told("Bits per byte; of a confirmed configuration the mean over its seeds.")
    half_width: float | None = told("Half of the 95% interval of that mean; null where no seed was repeated.")
    seeds: int = told("Runs behind it.")
    parameters: dict[str, Any] = told("The searched settings' values.")


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """How losses at a report foretell final ones."""

    percent: int = told("Of the proxy's budget.")
    rho: float = told("Spearman's correlation over all finished proxies.")
    bound: float = told("Its lower 90% confidence bound.")
    proof: float = told("Probability that losses here say something of the end, by where the good runs stood.")
    n: int = told("Pairs.")
    open: bool = told("Whether the proof is 95% or more, and enough have finished; the pruner weighs the proof itself.")


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """The correlation by progress, and the pruner's gate."""

    steps: list[Foretold] = told("One for each report but the last.")
    finished: int = told("Proxies that trained to the end.")
    needed: int = told("How many must have finished before any is pruned.")
    open_from: int | None = told("Percent from which on the gate is open at every later report; null: nowhere.")


@dataclass(frozen=True, kw_only=True)
class TransferNow:
    """Whether the proxy foretold what was confirmed."""

    pairs: int = told("Configurations with a proxy's and a confirmed BPB.")
    tau: float | None = told("Kendall's τ-b; null below 5 pairs.")
    low: float | None = told("Lower end of its 95% interval.")
    high: float | None = told("Upper end.")
    proven: bool = told("Whether τ ≤ 0 can be excluded.")
    verdict: str = told("In a sentence.")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Hours and dollars of all workers, idle or not."""

    hours: float = told("Worker hours so far.")
    hours_projected: float = told("In the end, an estimate.")
    usd: float = told("So far.")
    usd_bound: float = told("More until the runs under way end.")
    usd_projected: float = told("In the end, an estimate.")
    max_usd: float | None = told("The cap; null where there is none.")
    capped: bool = told("Whether the cap will end the study before its runs do.")


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something to act upon, or not to trust blindly."""

    kind: str = told("waiting, idle, stopped, cap, or a caveat's name: edge, learning-rate, noise, correlation, …")
    sentence: str = told("For people.")


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A study at one moment."""

    schema_version: int = told("Rises when a field goes or changes its meaning.")
    at: str = told("When, in UTC, by the server's clock where any worker has ever entered.")
    study: str = told("Its name.")
    description: str = told("The study file's.")
    kind: str = told("search or grid.")
    state: str = told("running; waiting for its first worker; stopped: work is left, but nobody works; finished.")
    proxy_budget: str = told("Training time of a proxy.")
    confirm_budget: str = told("Training time of a confirmation run.")
    elapsed_seconds: float = told("While at least one worker was there.")
    eta_seconds: float | None = told("To the end, an estimate for the workers that live; null where none does.")
    proxies: Counts = told("The short runs.")
    confirmations: Counts = told("The long runs.")
    workers: list[WorkerNow] = told("Those that haven't ended.")
    best_proxy: Found | None = told("The lowest BPB among finished proxies.")
    baseline_proxy: Found | None = told("The best hand-made configuration's proxy.")
    best_confirmed: Found | None = told("The best by mean BPB; who failed in a long run stands behind.")
    baseline_confirmed: Found | None = told("The best hand-made configuration, confirmed.")
    searched_confirmed: Found | None = told("The best confirmed configuration that isn't hand-made.")
    correlation: Correlation = told("How far losses so far foretell final ones.")
    transfer: TransferNow = told("How far proxies foretell confirmed results.")
    pruning_saved_seconds: float = told("Training time that pruned proxies were spared.")
    race: str = told("Where the race of confirmation runs is; empty before it began.")
    race_over: bool = told("Whether it asks for no further run.")
    cost: Cost = told("Hours and dollars.")
    warnings: list[Warned] = told("The most urgent first.")

    def table(self) -> dict[str, Any]:
        """Return plain tables, as JSON has them."""
        return asdict(self)
