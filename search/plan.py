"""A study file, settled: everything that decides what a study does, in one frozen record."""

import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import tomli_w

from model.config import DataConfig, ModelConfig, TokenizerConfig, TrainConfig
from model.errors import SettingsError
from model.settings import Settings, deeper, nearest
from search.errors import StudyFileError
from search.sections import ConfirmConfig, CostConfig, ProxyConfig, PrunerConfig, RecipeConfig, WorkerConfig
from search.space import OWNER, RECORDS, Params, Space


@dataclass(frozen=True)
class Configuration:
    """Everything that one run trains: what is fixed and what was searched, together."""

    tokenizer: TokenizerConfig
    model: ModelConfig
    train: TrainConfig

    def table(self) -> dict[str, dict[str, Any]]:
        """Return the three sections as plain tables."""
        return {section: getattr(self, section).table() for section in RECORDS}


SECTIONS: dict[str, type[Settings]] = {
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
        rate = self.space.parameters.get("max_lr")
        highest = max([self.train.max_lr] if rate is None else rate.choices or [rate.high or 0.0])
        if float(highest) * max(self.confirm.lr_scales) > 1:
            raise SettingsError(
                f"[confirm] `lr_scales` has {max(self.confirm.lr_scales):g}, but max_lr, {highest:g} at most, "
                "must stay <= 1"
            )
        for section, cap in (("cost", self.cost.max_usd), ("confirm", self.confirm.max_usd)):
            if cap and not self.cost.usd_per_gpu_hour:
                raise SettingsError(
                    f"[{section}] `max_usd` is {cap:g}, but [cost] `usd_per_gpu_hour` is 0, so that it would never be "
                    "reached; give the price of an hour"
                )
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
            return cls._build(_toml(text), name)
        except SettingsError as error:
            raise StudyFileError(f"{origin}: {error}") from None

    @classmethod
    def _build(cls, table: Mapping[str, Any], name: str) -> Self:
        known = {"description", "space", "baselines", *SECTIONS}
        for key in table:
            if key not in known:
                raise SettingsError(f"`{key}` is not a section here; {nearest(key, known)}")
        needed = ("data", "proxy", "space") if is_grid(table) else ("data", "proxy", "confirm", "space")
        for key in needed:
            if key not in table:
                raise SettingsError(f"[{key}] is missing; every study needs it")
        if "confirm" not in table:
            table = {**table, "confirm": {"budget": table["proxy"].get("budget", ""), "top": 0, "random": 0}}
        sections = {key: record.parse(table.get(key, {}), f"[{key}]") for key, record in SECTIONS.items()}
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
        """How many long runs it leads to at most when enough proxies finish and the race doesn't widen."""
        top, confirm = self.confirm.top * len(self.confirm.lr_scales), self.confirm
        passing = top
        for _ in confirm.rungs:
            passing = max(2, math.ceil(passing / 2))
        return math.floor((len(self.baselines) + (passing if top else 0) + confirm.random) * confirm.seeds)

    def scaled(self, params: Mapping[str, Any], lr_scale: float) -> Params:
        """Return searched values with the learning rate scaled, whether it is searched or fixed."""
        if lr_scale == 1:
            return dict(params)
        return {**params, "max_lr": params.get("max_lr", self.train.max_lr) * lr_scale}

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
        sections = {key: getattr(self, key).table() for key in SECTIONS}
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


def _toml(text: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(text)
    except RecursionError:
        table = None
    except ValueError as error:  # besides its own errors, those of numbers of thousands of digits
        raise SettingsError(f"not valid TOML: {error}") from None
    if table is None or deeper(table):
        raise SettingsError("its lists or tables are nested too deeply; a study file has tables in tables, no deeper")
    return table
