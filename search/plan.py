"""A study file, settled: everything that decides what a study does, in one frozen record."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import tomli_w

from model.config import DataConfig, ModelConfig, TokenizerConfig, TrainConfig
from model.errors import SettingsError
from model.settings import Settings, nearest, setting
from search.duration import parse_duration
from search.errors import StudyFileError
from search.space import OWNER, RECORDS, Params, Space


@dataclass(frozen=True, kw_only=True)
class Fidelity(Settings):
    """A training budget."""

    budget: str = setting(doc="training time of each run: 90s, 6m, 1h")

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            parse_duration(self.budget)
        except ValueError as error:
            raise SettingsError(f"`budget` is {error}") from None

    @property
    def budget_seconds(self) -> float:
        """Training seconds on the clock."""
        return parse_duration(self.budget)


@dataclass(frozen=True, kw_only=True)
class ProxyConfig(Fidelity):
    """The short runs that search."""

    sampler: str = setting(
        "tpe",
        "tpe and gp learn, qmc and random don't, grid runs every combination of the space's values",
        choices=("tpe", "gp", "qmc", "random", "grid"),
    )
    repeats: int = setting(1, "runs of each point of a grid, each with its own seed", at_least=1)
    trials: int = setting(100, "proxy trials, baselines included; a grid has as many as it has", at_least=1)
    report_every: int = setting(5, "percent of the budget between reports", at_least=1, at_most=50)
    report_bytes: int = setting(262_144, "validation text that a report measures; the final value uses all", at_least=1)
    startup: int = setting(10, "finished trials before tpe or gp learns; drawn at random until then", at_least=1)
    seed: int = setting(0, "of initial weights, data order and sampling", at_least=0)
    schedule: str = setting(
        "whole", "whole: its own, to the end; prefix: the first part of a confirmation's", choices=("whole", "prefix")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repeats > 1 and self.sampler != "grid":
            raise SettingsError(f'`repeats` is {self.repeats}, but only sampler = "grid" repeats')
        if 100 % self.report_every:
            raise SettingsError(f"`report_every` is {self.report_every}, but must divide 100")


@dataclass(frozen=True, kw_only=True)
class ConfirmConfig(Fidelity):
    """The long runs that decide."""

    top: int = setting(5, "best proxies to confirm", at_least=0)
    random: int = setting(1, "further proxies, drawn at random, so that not only winners are compared", at_least=0)
    seeds: int = setting(2, "runs of each configuration, each with its own seed", at_least=2)
    first_seed: int = setting(100, "seed of the first run; the next one has the next", at_least=0)

    @property
    def seed_values(self) -> tuple[int, ...]:
        """The seeds that every candidate is run with."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))


@dataclass(frozen=True, kw_only=True)
class PrunerConfig(Settings):
    """When a proxy trial may be stopped early."""

    min_trials: int = setting(8, "finished proxies before anything is pruned", at_least=4)
    min_correlation: float = setting(0.3, "what the lower bound of the correlation must exceed", at_least=0, below=1)
    risk: float = setting(0.05, "largest chance, per trial, of pruning one of the best", above=0, below=1)
    controls: float = setting(0.1, "fraction of trials never pruned, drawn before they start", at_least=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class WorkerConfig(Settings):
    """How workers share a study."""

    heartbeat_seconds: float = setting(10.0, "between signs of life", above=0)
    grace_seconds: float = setting(60.0, "of silence before a trial is given to another worker", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grace_seconds < 2 * self.heartbeat_seconds:
            raise SettingsError(
                f"`grace_seconds` is {self.grace_seconds}, but must be "
                f">= 2 × heartbeat_seconds ({self.heartbeat_seconds})"
            )


@dataclass(frozen=True, kw_only=True)
class CostConfig(Settings):
    """What an hour of a worker costs."""

    usd_per_gpu_hour: float = setting(0.59, "price of one worker's GPU, in dollars an hour", at_least=0)


@dataclass(frozen=True, kw_only=True)
class RecipeConfig(Settings):
    """The search by hand that `lilm-search recipe` goes through."""

    tokens_per_param: float = setting(70.0, "tokens of the budget for each parameter; sets the depth", above=0)
    learning_rates: tuple[float, ...] = setting((1e-3, 2e-3, 3e-3, 5e-3, 8e-3), "highest learning rates to try")
    lr_budget_fraction: float = setting(0.2, "part of the budget that each of them gets", above=0, at_most=1)
    measure_seconds: float = setting(10.0, "training seconds to measure the speed of a depth", above=0)
    max_layers: int = setting(64, "deepest network to try", at_least=1, at_most=256)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.learning_rates or not all(0 < lr <= 1 for lr in self.learning_rates):
            raise SettingsError(f"`learning_rates` is {list(self.learning_rates)}, but must list rates > 0 and <= 1")


@dataclass(frozen=True)
class Configuration:
    """Everything that one run trains: what is fixed and what was searched, together."""

    tokenizer: TokenizerConfig
    model: ModelConfig
    train: TrainConfig

    def table(self) -> dict[str, dict[str, Any]]:
        """Return the three sections as plain tables."""
        return {section: getattr(self, section).table() for section in RECORDS}


_SECTIONS: dict[str, type[Settings]] = {
    "data": DataConfig,
    **RECORDS,
    "proxy": ProxyConfig,
    "confirm": ConfirmConfig,
    "pruner": PrunerConfig,
    "workers": WorkerConfig,
    "cost": CostConfig,
    "recipe": RecipeConfig,
}


def is_grid(table: Mapping[str, Any]) -> bool:
    """Return whether a study file's table asks for a grid."""
    proxy = table.get("proxy")
    return isinstance(proxy, Mapping) and proxy.get("sampler") == "grid"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study's settled file; `toml()` and `parse` are each other's inverse."""

    name: str
    description: str
    data: DataConfig
    tokenizer: TokenizerConfig
    model: ModelConfig
    train: TrainConfig
    proxy: ProxyConfig
    confirm: ConfirmConfig
    pruner: PrunerConfig
    workers: WorkerConfig
    cost: CostConfig
    recipe: RecipeConfig
    space: Space
    baselines: Mapping[str, Params] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fewer = None if self.is_grid else self.space.configurations(self.fixed(), self.proxy.trials - 1)
        if fewer is not None:
            raise SettingsError(
                f"[proxy] `trials` is {self.proxy.trials}, but must be <= {len(fewer)}, as many as [space] has "
                'configurations; sampler = "grid" runs each of them'
            )

    @classmethod
    def parse(cls, text: str, *, name: str, origin: str) -> Self:
        """Read a study file's text; raises `StudyFileError` that names `origin`, key, value and what is allowed."""
        try:
            return cls._build(tomllib.loads(text), name)
        except tomllib.TOMLDecodeError as error:
            raise StudyFileError(f"{origin}: not valid TOML: {error}") from None
        except SettingsError as error:
            raise StudyFileError(f"{origin}: {error}") from None

    @classmethod
    def _build(cls, table: Mapping[str, Any], name: str) -> Self:
        known = {"description", "space", "baselines", *_SECTIONS}
        for key in table:
            if key not in known:
                raise SettingsError(f"`{key}` is not a section here; {nearest(key, known)}")
        needed = ("data", "proxy", "space") if is_grid(table) else ("data", "proxy", "confirm", "space")
        for key in needed:
            if key not in table:
                raise SettingsError(f"[{key}] is missing; every study needs it")
        if "confirm" not in table:
            table = {**table, "confirm": {"budget": table["proxy"].get("budget", ""), "top": 0, "random": 0}}
        sections = {key: record.parse(table.get(key, {}), f"[{key}]") for key, record in _SECTIONS.items()}
        description = table.get("description", "")
        if not isinstance(description, str):
            raise SettingsError(f"`description` is {description!r}, but must be a string")
        plan = cls(name=name, description=description, space=Space.parse(table["space"]), **sections)  # type: ignore[arg-type]
        if plan.proxy.schedule == "prefix" and plan.confirm.budget_seconds <= plan.proxy.budget_seconds:
            budgets = f"[confirm] `budget` is {plan.confirm.budget}, but must be > {plan.proxy.budget}, [proxy]'s"
            raise SettingsError(f'{budgets}, where schedule = "prefix"')
        plan = plan.with_baselines(table.get("baselines", {}))
        return plan.sized_as_grid("trials" in table["proxy"]) if is_grid(table) else plan

    def with_baselines(self, table: Any) -> Self:
        """Return the plan with these hand-made configurations, each checked against the space."""
        if not isinstance(table, Mapping):
            raise SettingsError(f"[baselines] is {table!r}, but must be a table of tables")
        for name, params in table.items():
            self._check_baseline(f"[baselines.{name}]", params)
        return replace(self, baselines=dict(table))

    def _check_baseline(self, where: str, params: Any) -> None:
        if not isinstance(params, Mapping):
            raise SettingsError(f"{where} is {params!r}, but must be a table")
        for key, value in params.items():
            if key not in self.space.parameters:
                hint = nearest(key, self.space.parameters)
                raise SettingsError(f"{where} `{key}` is not searched, so a baseline can't set it; {hint}")
            if not self.space.parameters[key].holds(value):
                raise SettingsError(
                    f"{where} `{key}` is {value!r}, but must be {self.space.parameters[key]} as in [space]"
                )
        needed = self.space.names({**self.fixed(), **params})
        if set(params) != needed:
            odd = sorted(needed ^ set(params))[0]
            raise SettingsError(
                f"{where} `{odd}` is {'missing' if odd in needed else 'not searched under these values'}"
            )

    def sized_as_grid(self, trials_given: bool) -> Self:
        """Return the plan with as many trials as its grid has points, times repeats."""
        if self.baselines:
            raise SettingsError('[baselines] can\'t stand beside sampler = "grid"; add their values to the grid')
        size = len(self.grid()) * self.proxy.repeats
        if trials_given and self.proxy.trials != size:
            raise SettingsError(f"[proxy] `trials` is {self.proxy.trials}, but the grid has {size} runs; leave it out")
        return replace(self, proxy=replace(self.proxy, trials=size))

    @property
    def is_grid(self) -> bool:
        """Whether the study runs a grid instead of searching."""
        return self.proxy.sampler == "grid"

    @property
    def confirmations(self) -> int:
        """How many confirmation runs it leads to when enough proxies finish."""
        return (len(self.baselines) + self.confirm.top + self.confirm.random) * self.confirm.seeds

    def grid(self) -> list[Params]:
        """Return every combination of the searched settings' values."""
        return self.space.grid(self.fixed())

    def fixed(self) -> Params:
        """Return the settings outside the space."""
        sections = (getattr(self, s).table() for s in RECORDS)
        return {k: v for table in sections for k, v in table.items() if k not in self.space.parameters}

    def configuration(self, params: Mapping[str, Any]) -> Configuration:
        """Return the records that these searched values stand for."""
        tables = {section: getattr(self, section).table() for section in RECORDS}
        for key, value in params.items():
            tables[OWNER[key]][key] = value
        return Configuration(
            tokenizer=TokenizerConfig(**tables["tokenizer"]),
            model=ModelConfig(**tables["model"]),
            train=TrainConfig(**tables["train"]),
        )

    def report_points(self) -> tuple[int, ...]:
        """The percents of progress at which a trial reports, 100 the last."""
        return tuple(range(self.proxy.report_every, 101, self.proxy.report_every))

    def table(self) -> dict[str, Any]:
        """Return the whole plan as plain tables, defaults included."""
        head: dict[str, Any] = {"description": self.description} if self.description else {}
        sections = {key: getattr(self, key).table() for key in _SECTIONS}
        return {
            **head,
            **sections,
            "space": self.space.table(),
            "baselines": {k: dict(v) for k, v in self.baselines.items()},
        }

    def toml(self) -> str:
        """Return the settled study file."""
        return tomli_w.dumps(self.table())

    def sha256(self) -> str:
        """Identity of the settled file."""
        return hashlib.sha256(self.toml().encode()).hexdigest()
