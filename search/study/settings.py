"""The sections of a study file that configure the search; those that configure training are in `model/config.py`."""

from dataclasses import dataclass

from model.errors import SettingsError
from model.settings import Settings, setting, shown
from search.common.durations import parse_duration


@dataclass(frozen=True, kw_only=True)
class Fidelity(Settings):
    """A training budget."""

    budget: str = setting(doc="training time of each run: 90s, 6m, 1h")
    max_hours: float = setting(
        0.0, "worker hours of all its runs, after which no new one is started; 0: no limit", at_least=0
    )
    max_usd: float = setting(
        0.0, "dollars for all its runs, after which no new one is started; 0: no limit", at_least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            parse_duration(self.budget)
        except ValueError as error:
            raise SettingsError(f"`budget`: {error}") from None

    @property
    def budget_seconds(self) -> float:
        """Training seconds on the clock."""
        return parse_duration(self.budget)

    @property
    def limited(self) -> bool:
        """Whether hours or dollars limit the number of its runs."""
        return bool(self.max_hours or self.max_usd)


@dataclass(frozen=True, kw_only=True)
class ProxyConfig(Fidelity):
    """The proxy trials: short runs that search."""

    sampler: str = setting(
        "tpe",
        "joint learns from short and long runs, tpe and gp from short ones, qmc and random from none; "
        "grid runs every combination of the space's values",
        choices=("joint", "tpe", "gp", "qmc", "random", "grid"),
    )
    repeats: int = setting(1, "runs of each point of a grid, or of each idea, each with its own seed", at_least=1)
    trials: int = setting(
        100,
        "most proxy trials, baselines included, unless hours or dollars end them before; a grid sets it itself: its "
        "combinations × repeats",
        at_least=1,
    )
    report_every: int = setting(5, "percent of the budget between reports", at_least=1, at_most=50)
    report_bytes: int | None = setting(
        None,
        "bytes of validation text that a report measures; the final value uses all of it. Left out, the study's first "
        "worker chooses: 16 KB to 256 KB, by its speed at most 0.1% of the budget, and 1% for the largest network",
        at_least=1,
    )
    startup: int = setting(
        10, "finished trials before tpe or gp is used; until then trials are drawn at random", at_least=1
    )
    near_baselines: float = setting(
        0.7, "share of those first trials that are drawn near a baseline, if there is one", at_least=0, at_most=1
    )
    seed: int = setting(0, "seed of initial weights, data order and sampling", at_least=0)
    schedule: str = setting(
        "whole",
        "schedule within the proxy's budget: whole goes to its end; prefix is the first part of a confirmation run's",
        choices=("whole", "prefix"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repeats > 1 and self.sampler != "grid":
            raise SettingsError(f'`repeats` is {self.repeats}, but only sampler = "grid" repeats')
        if self.limited and self.sampler == "grid":
            raise SettingsError('`max_hours` and `max_usd` can\'t limit sampler = "grid", which runs every combination')
        if self.max_hours and self.max_hours * 3600 < self.budget_seconds:
            raise SettingsError(
                f"`max_hours` is {self.max_hours:g}, but must be 0, or enough for a run of {self.budget}"
            )
        if 100 % self.report_every:
            raise SettingsError(f"`report_every` is {self.report_every}, but must divide 100")


@dataclass(frozen=True, kw_only=True)
class ConfirmConfig(Fidelity):
    """The confirmation runs: a race, in which further seeds go where they can change the result."""

    top: int = setting(8, "number of best proxies that are confirmed", at_least=0)
    random: int = setting(
        1, "number of further proxies to confirm, drawn at random, so that not only the best are compared", at_least=0
    )
    widen: int = setting(
        3, "most candidates added later, while proxies aren't shown to predict confirmed results", at_least=0
    )
    after: int = setting(
        0,
        "finished proxies after which the first long runs begin, and go on beside further proxies, candidates being "
        "chosen by a model of both; 0: once all proxies are over, the best of them",
        at_least=0,
    )
    seeds: float = setting(
        1.4, "confirmation runs per candidate, on average; the race decides which get more", at_least=1
    )
    max_seeds: int = setting(6, "most runs of one configuration, each with its own seed", at_least=2)
    first_seed: int = setting(
        100, "seed of the first run of a configuration; each further run has the next", at_least=0
    )
    rungs: tuple[str, ...] = setting(
        (), "shorter budgets before the full one, such as 12m; after each the better half goes on", example='["12m"]'
    )
    lr_scales: tuple[float, ...] = setting(
        (1.0,),
        "factors on the learning rate; each of the best proxies is confirmed with each of them",
        example="[1.0, 0.7]",
    )
    scores: tuple[str, ...] = setting(
        (),
        "minimal pairs in BLiMP's format (.jsonl files, globs or folders) that each run is scored on as it ends, off "
        "its clock; shown beside its BPB, never used to choose",
        example='["blimp/*.jsonl"]',
    )
    last_states: int = setting(
        0,
        "number of last report points before the end at which a run's weights are stored with the study, off its "
        "clock, for `merge` to average",
        at_least=0,
    )
    prune: bool = setting(True, "prune confirmation runs too, compared with other confirmation runs")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.after and self.rungs:
            raise SettingsError(f"`after` is {self.after}, but must be 0 with `rungs`, which compare all candidates")
        if self.max_seeds < self.seeds:
            raise SettingsError(f"`max_seeds` is {self.max_seeds}, but must be >= seeds ({self.seeds})")
        if 1.0 not in self.lr_scales or not all(0 < scale <= 10 for scale in self.lr_scales):
            raise SettingsError(
                f"`lr_scales` is {shown(self.lr_scales)}, but must list factors > 0 and <= 10, 1.0 among them"
            )
        try:
            rungs = [parse_duration(rung) for rung in self.rungs]
        except ValueError as error:
            raise SettingsError(f"`rungs`: {error}") from None
        if sorted({*rungs, self.budget_seconds}) != [*rungs, self.budget_seconds]:
            raise SettingsError(f"`rungs` is {shown(self.rungs)}, but must rise, each below `budget` ({self.budget})")


@dataclass(frozen=True, kw_only=True)
class PrunerConfig(Settings):
    """When a proxy trial may be stopped early."""

    rule: str = setting(
        "auto",
        "worth prunes a trial when new ones promise more for the same cost, risk when hardly any of the best looked as "
        "bad, halving at a quarter of its budget when it isn't in the best quarter there; auto is risk unless hours or "
        "dollars limit the proxies, so that what is saved buys new ones, then halving for a prefix, else worth",
        choices=("auto", "worth", "risk", "halving"),
    )
    caution: float = setting(
        1.0,
        "for rule worth: factor by which new trials must promise more than a pruned one; higher prunes less",
        above=0,
    )
    min_trials: int = setting(5, "finished proxies before anything is pruned, but by halving", at_least=2)
    risk: float = setting(
        0.06,
        "for rule risk: largest share of the best runs that may have looked as bad as a pruned trial",
        above=0,
        below=0.5,
    )
    odds: float = setting(10.0, "prior odds that losses so far predict final ones; lower prunes less", above=0)
    controls: float = setting(
        0.03, "fraction of trials that are never pruned, drawn before they start", at_least=0, at_most=1
    )
    primed_by: str = setting(
        "",
        "earlier study with the same trainer, schedule and report points, for the pruner to learn from, by rule risk",
    )


@dataclass(frozen=True, kw_only=True)
class WorkerConfig(Settings):
    """Workers: heartbeats, hardware and files."""

    heartbeat_seconds: float = setting(10.0, "seconds between heartbeats of a worker", above=0)
    grace_seconds: float = setting(
        60.0, "seconds without a heartbeat before a trial is given to another worker", above=0
    )
    mixed_hardware: bool = setting(False, "admit hardware unlike the first worker's, with budgets scaled by speed")
    resume_mb: float = setting(
        256.0,
        "largest state of a stopped confirmation run that is stored for other machines, in megabytes; 0: none",
        at_least=0,
    )
    artifacts: str = setting("", "where files are kept: s3://BUCKET/PREFIX, or empty for the study's database")
    artifact_mb: float = setting(256.0, "largest file that is kept in the database, in megabytes", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grace_seconds < 2 * self.heartbeat_seconds:
            raise SettingsError(
                f"`grace_seconds` is {self.grace_seconds}, but must be "
                f">= 2 × heartbeat_seconds ({self.heartbeat_seconds})"
            )


@dataclass(frozen=True, kw_only=True)
class CostConfig(Settings):
    """Price of a worker's hour, and the most that all workers may cost."""

    usd_per_gpu_hour: float = setting(0.59, "price of one worker's GPU, in dollars an hour", at_least=0)
    max_usd: float = setting(0.0, "dollars for all workers, beyond which no trial is started; 0: no cap", at_least=0)


@dataclass(frozen=True, kw_only=True)
class RecipeConfig(Settings):
    """The procedure of `lilm-search recipe`, which does what one would do by hand instead of a search."""

    tokens_per_param: float = setting(70.0, "tokens per parameter to aim at within the budget; sets the depth", above=0)
    learning_rates: tuple[float, ...] = setting(
        (1e-3, 2e-3, 3e-3, 5e-3, 8e-3), "highest learning rates to try", example="[1e-3, 3e-3]"
    )
    lr_budget_fraction: float = setting(
        0.2, "fraction of the budget that each learning rate is tried for", above=0, at_most=1
    )
    measure_seconds: float = setting(10.0, "training seconds for measuring the speed at one depth", above=0)
    max_layers: int = setting(64, "most layers to try", at_least=1, at_most=256)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.learning_rates or not all(0 < lr <= 1 for lr in self.learning_rates):
            raise SettingsError(f"`learning_rates` is {shown(self.learning_rates)}, but must list rates > 0 and <= 1")
