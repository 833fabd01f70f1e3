"""A study's plan: its study file with all defaults filled in, as one frozen record."""

import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import tomli_w

from model.config import DataConfig, ModelConfig, TokenizerConfig, TrainConfig
from model.effects import require_effects
from model.errors import SettingsError
from model.settings import Settings, deeper, is_finite, nearest, shown
from search.common.errors import StudyFileError
from search.study.parameter import Suggester
from search.study.settings import ConfirmConfig, CostConfig, ProxyConfig, PrunerConfig, RecipeConfig, WorkerConfig
from search.study.space import RECORDS, SECTION_OF, Params, Space, typed
from search.study.space_check import check_space


@dataclass(frozen=True)
class Configuration:
    """All settings of one run's training: the fixed and the searched ones."""

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


def read_toml(text: str) -> dict[str, Any]:
    """Return a TOML text as a table; raises `SettingsError` if it is not valid TOML."""
    try:
        table = tomllib.loads(text)
    except RecursionError:
        table = None
    except ValueError as error:  # not only tomllib's own error: an integer of more than 4300 digits raises another
        raise SettingsError(f"not valid TOML: {error}") from None
    if table is None or deeper(table):
        raise SettingsError("its lists or tables are nested too deeply; a study file has tables in tables, no deeper")
    return table


def is_grid(table: Mapping[str, Any]) -> bool:
    """Return whether a study file's table has a grid as its sampler."""
    proxy = table.get("proxy")
    return isinstance(proxy, Mapping) and proxy.get("sampler") == "grid"


PLAIN = "plain"
"""Name of a sweep's configuration without any of its ideas."""
MAX_COUNTED = 100_000
"""Most configurations of a space that are counted, to refuse a larger number of trials."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study file with defaults filled in; `toml()` and `parse` are each other's inverse."""

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
    ideas: Mapping[str, Params] = field(default_factory=dict)
    """Settings that a sweep changes, one idea at a time, by the idea's name."""

    def __post_init__(self) -> None:
        rate = self.space.parameters.get("max_lr")
        highest = max([self.train.max_lr] if rate is None else rate.choices or [rate.high or 0.0])
        if float(highest) * max(self.confirm.lr_scales) > 1:
            raise SettingsError(
                f"[confirm] `lr_scales` has {max(self.confirm.lr_scales):g}, but max_lr, {highest:g} at most, "
                "must stay <= 1"
            )
        caps = {section: getattr(self, section).max_usd for section in ("cost", "proxy", "confirm")}
        for section, cap in caps.items():
            if cap and not self.cost.usd_per_gpu_hour:
                raise SettingsError(
                    f"[{section}] `max_usd` is {cap:g}, but [cost] `usd_per_gpu_hour` is 0, so that it would never be "
                    "reached; give the price of an hour"
                )
        most = min(self.proxy.trials - 1, MAX_COUNTED)
        fewer = None if self.is_grid else self.space.configurations(self.fixed(), most)
        if fewer is not None:
            raise SettingsError(
                f"[proxy] `trials` is {self.proxy.trials}, but must be <= {len(fewer)}, as many as [space] has "
                'configurations; sampler = "grid" runs each of them'
            )

    @classmethod
    def parse(cls, text: str, *, name: str, origin: str, stored: bool = False) -> Self:
        """Read a study file's text; raises a `StudyFileError` that names `origin`, key, value and allowed values.

        A stored plan was checked when its file was read: it opens even if rules have become stricter since.
        """
        try:
            return cls._build(read_toml(text), name, stored)
        except SettingsError as error:
            raise StudyFileError(f"{origin}: {error}") from None

    @classmethod
    def _build(cls, table: Mapping[str, Any], name: str, stored: bool) -> Self:
        allowed = {"description", "space", "baselines", "ideas", *SECTIONS}
        for key in table:
            if key not in allowed:
                raise SettingsError(f"`{key}` is not a section here; {nearest(key, allowed)}")
        table = _with_needed_sections(table)
        sections = {key: record.parse(table.get(key, {}), f"[{key}]") for key, record in SECTIONS.items()}
        description = table.get("description", "")
        if not isinstance(description, str):
            raise SettingsError(f"`description` is {shown(description)}, but must be a string")
        space = Space.parse(table["space"], stored=stored)
        if not stored:
            _check_finite(sections)
            check_space(space, {section: sections[section].table() for section in RECORDS})
        plan = cls(name=name, description=description, space=space, **sections)  # type: ignore[arg-type]
        if stored:
            return replace(plan, baselines=table.get("baselines", {}), ideas=table.get("ideas", {}))
        if plan.proxy.schedule == "prefix" and plan.confirm.budget_seconds <= plan.proxy.budget_seconds:
            budgets = f"[confirm] `budget` is {plan.confirm.budget}, but must be > {plan.proxy.budget}, [proxy]'s"
            raise SettingsError(f'{budgets}, where schedule = "prefix"')
        plan = plan.with_baselines(table.get("baselines", {})).with_ideas(table.get("ideas", {}))
        return plan.sized_as_grid("trials" in table["proxy"]) if is_grid(table) else plan

    def with_baselines(self, table: Any) -> Self:
        """Return the plan with these baselines, each checked against the space."""
        if not isinstance(table, Mapping):
            raise SettingsError(f"[baselines] is {shown(table)}, but must be a table of tables")
        return replace(self, baselines={name: self._baseline(name, params) for name, params in table.items()})

    def with_ideas(self, table: Any) -> Self:
        """Return the plan with these ideas, each checked alone beside the fixed settings."""
        if not isinstance(table, Mapping):
            raise SettingsError(f"[ideas] is {shown(table)}, but must be a table of tables")
        if table and (self.confirm.top or self.confirm.random):
            raise SettingsError(
                f"[confirm] `top` is {self.confirm.top} and `random` {self.confirm.random}, but beside [ideas] both "
                "must be 0: leave [confirm] out, and give [proxy] the `budget` that counts"
            )
        if table and self.space.parameters:
            raise SettingsError("[space] can't stand beside [ideas]: all but one idea's settings must be the same")
        return replace(self, ideas={name: self._idea(name, params) for name, params in table.items()})

    def _idea(self, name: str, params: Any) -> Params:
        given = self._configured(f"[ideas.{name}]", params)
        if not name.strip() or name == PLAIN:
            raise SettingsError(f'[ideas] has {name!r}, but an idea must have a name, other than "{PLAIN}"')
        if all(self._is_fixed_at(key, value, given) for key, value in given.items()):
            raise SettingsError(f"[ideas.{name}] changes nothing: all its values are those of the study's other runs")
        return given

    def _baseline(self, name: str, params: Any) -> Params:
        """Return a baseline's values in their settings' types, checked one by one and in combination."""
        if not name.strip():
            raise SettingsError(f"[baselines] has {name!r}, but a baseline must have a name")
        given = self._configured(f"[baselines.{name}]", params)
        return {key: value for key, value in given.items() if not self._is_fixed_at(key, value, given)}

    def _configured(self, where: str, params: Any) -> Params:
        """Return a named configuration's values in their settings' types, checked one by one and in combination."""
        if not isinstance(params, Mapping):
            raise SettingsError(f"{where} is {shown(params)}, but must be a table")
        for key in params:
            if key not in SECTION_OF:
                hint = nearest(key, SECTION_OF)
                raise SettingsError(f"{where} `{key}` is not a setting of [tokenizer], [model] or [train]; {hint}")
        given = {key: typed(key, value) for key, value in params.items()}
        self._check_searched(where, given)
        try:
            configuration = self.configuration(given)
            require_effects(configuration.model, configuration.train)
        except SettingsError as error:
            raise SettingsError(f"{where} {error}") from None
        return given

    def _check_searched(self, where: str, params: Params) -> None:
        """Refuse a baseline that lacks a setting searched under its values, or has one outside the space."""
        for key in sorted(self.searched(params)):
            if key not in params:
                raise SettingsError(f"{where} `{key}` is missing: it is searched under these values")
            if not self.space.parameters[key].holds(params[key]):
                raise SettingsError(
                    f"{where} `{key}` is {shown(params[key])}, but must be {self.space.parameters[key]} as in [space]"
                )

    def _is_fixed_at(self, key: str, value: Any, params: Params) -> bool:
        """Return whether all trials with these settings have this value of a setting that they don't search.

        A baseline that says so is the same configuration as a trial drawn with its searched values.
        """
        return key not in self.searched(params) and getattr(getattr(self, SECTION_OF[key]), key) == value

    def suggest(self, trial: Suggester, given: Mapping[str, Any]) -> Params:
        """Return the settings that a trial was given, and tell the searched ones to Optuna's trial.

        Nothing is drawn beside them, or it would be another configuration.
        """
        searched, parameters = self.searched(given), self.space.parameters.items()
        told = {
            name: parameter.suggest(trial, name) for name, parameter in parameters if name in searched & given.keys()
        }
        return {**given, **told}

    def searched(self, params: Mapping[str, Any]) -> set[str]:
        """Return the names of the settings that a trial with these settings searches; others are its own, or fixed."""
        return self.space.names({**self.fixed(), **params})

    def sized_as_grid(self, trials_given: bool) -> Self:
        """Return the plan with its number of trials set to grid points × repeats."""
        if self.baselines:
            raise SettingsError('[baselines] can\'t stand beside sampler = "grid"; add their values to the grid')
        size = len(self.grid_runs())
        if trials_given and self.proxy.trials != size:
            raise SettingsError(f"[proxy] `trials` is {self.proxy.trials}, but the grid has {size} runs; leave it out")
        return replace(self, proxy=replace(self.proxy, trials=size))

    @property
    def is_grid(self) -> bool:
        """Whether the study runs a grid instead of searching."""
        return self.proxy.sampler == "grid"

    @property
    def confirmations(self) -> int:
        """Most confirmation runs, if enough proxies finish and the race doesn't widen."""
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
        """Return every combination of the searched settings' values; of ideas, none of them and each alone."""
        return [{}, *map(dict, self.ideas.values())] if self.ideas else self.space.grid(self.fixed())

    @property
    def plain_share(self) -> int:
        """Runs without any idea for each run of an idea: √k for k ideas, which makes their differences surest.

        All are compared with these (Dunnett, Journal of the American Statistical Association 50, 1955, section 6).
        """
        return round(math.sqrt(len(self.ideas))) or 1

    def grid_runs(self) -> list[tuple[int, int]]:
        """Return point and seed of every run of a grid, each point's first before any is repeated."""
        shares = [self.plain_share if self.ideas and not index else 1 for index in range(len(self.grid()))]
        return [
            (index, self.proxy.seed + repeat * share + further)
            for repeat in range(self.proxy.repeats)
            for index, share in enumerate(shares)
            for further in range(share)
        ]

    def own_settings(self) -> set[str]:
        """Return the names of the settings that ideas change: a run may have them though none of them is searched."""
        return {name for params in self.ideas.values() for name in params}

    def fixed(self) -> Params:
        """Return the settings outside the space."""
        sections = (getattr(self, s).table() for s in RECORDS)
        return {k: v for table in sections for k, v in table.items() if k not in self.space.parameters}

    def configuration(self, params: Mapping[str, Any]) -> Configuration:
        """Return the configuration with these searched values and the fixed settings."""
        tables = {section: getattr(self, section).table() for section in RECORDS}
        for key, value in params.items():
            tables[SECTION_OF[key]][key] = value
        return Configuration(
            tokenizer=TokenizerConfig(**tables["tokenizer"]),
            model=ModelConfig(**tables["model"]),
            train=TrainConfig(**tables["train"]),
        )

    def report_points(self) -> tuple[int, ...]:
        """Return the report points in percent of progress, the last being 100."""
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
            **({"ideas": {k: dict(v) for k, v in self.ideas.items()}} if self.ideas else {}),
        }

    def toml(self) -> str:
        """Return the study file with defaults filled in."""
        return tomli_w.dumps(self.table())

    def sha256(self) -> str:
        """Return the SHA-256 of `toml()`, in hexadecimal."""
        return hashlib.sha256(self.toml().encode()).hexdigest()


def _with_needed_sections(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a study file's table with the sections that its kind may leave out; refuse it if others are missing."""
    if table.get("ideas") and not is_grid(table):
        raise SettingsError('[ideas] is for sweeps: write sampler = "grid" in [proxy], or search them in [space]')
    table = {"space": {}, **table} if table.get("ideas") else table
    needed = ("data", "proxy", "space") if is_grid(table) else ("data", "proxy", "confirm", "space")
    for key in needed:
        if key not in table:
            raise SettingsError(f"[{key}] is missing; every study needs it")
    if "confirm" in table:
        return table
    return {**table, "confirm": {"budget": table["proxy"].get("budget", ""), "top": 0, "random": 0}}


def _check_finite(sections: Mapping[str, Settings]) -> None:
    """Refuse infinite values: other code can't compute with them, and 0 stands for no limit."""
    for section, record in sections.items():
        for key, value in record.table().items():
            if isinstance(value, float) and not is_finite(value):
                raise SettingsError(f"[{section}] `{key}` is {value}, but must be a finite number")
