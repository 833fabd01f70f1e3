"""One searched setting: its values, and the condition under which it is searched."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from model.errors import SettingsError
from model.settings import Settings, is_finite, setting, shown

Value = bool | int | float | str

MAX_STEPS = 1e15
"""Most steps of a range; with more, floating-point numbers can't tell one step from the next."""


class Suggester(Protocol):
    """The methods of an Optuna trial that a space uses."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...  # noqa: D102
    def suggest_float(  # noqa: D102
        self, name: str, low: float, high: float, *, step: float | None, log: bool
    ) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class Parameter(Settings):
    """One searched setting: a range, or a list of choices; `when` names the settings it depends on."""

    low: int | float | None = setting(None, "smallest value")
    high: int | float | None = setting(None, "largest value")
    step: int | float | None = setting(None, "distance between the values of a range", above=0)
    log: bool = setting(False, "spread the values evenly over orders of magnitude")
    choices: tuple[Value, ...] | None = setting(None, "the values themselves, unordered", example='["adamw", "muon"]')
    when: dict[str, Value | tuple[Value, ...]] | None = setting(
        None,
        "searched only where these settings have these values; of a list, any of them",
        example='{ attention = "grouped" }',
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.choices is None) == (self.low is None or self.high is None):
            raise SettingsError("needs either `low` and `high`, or `choices`")
        if self.choices is not None:
            if len({(type(c), c) for c in self.choices}) != len(self.choices) or not self.choices:
                raise SettingsError(f"`choices` is {shown(self.choices)}, but must list at least one value, each once")
            return
        self._check_range(*self._ends)

    def _check_range(self, low: float, high: float) -> None:
        for key, end in (("low", low), ("high", high), ("step", self.step or 1)):
            if not is_finite(end):
                raise SettingsError(f"`{key}` is {shown(end)}, but must be a finite number")
        if not low < high:
            raise SettingsError(f"`low` is {low} and `high` is {high}, but low must be < high")
        if self.log and low <= 0:
            raise SettingsError(f"`low` is {low}, but must be > 0 where log = true")
        if self.step and (_exact(high) - _exact(low)) % _exact(self.step):
            raise SettingsError(f"`step` is {self.step}, but must divide high - low ({high - low:g})")
        if self.step and (high - low) / self.step > MAX_STEPS:
            raise SettingsError(f"`step` is {self.step}, but must be > {(high - low) / MAX_STEPS:g}, so as to matter")
        if self.log and self.step and not (self.whole and self.step == 1):
            raise SettingsError("`step` and `log` exclude one another, but for step = 1: whole numbers")

    @property
    def _ends(self) -> tuple[float, float]:
        """Lowest and highest value of a range."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    @cached_property
    def whole(self) -> bool:
        """Whether the range holds whole numbers only: an integer setting's, or a real one's with whole `step`."""
        given = self.step is not None or (type(self.low) is int and type(self.high) is int)
        return given and all(value == int(value) for value in (*self._ends, self.step or 1))

    @cached_property
    def size(self) -> int | None:
        """Number of values; None for a real range without steps."""
        if self.choices is not None:
            return len(self.choices)
        if self.step is None and not self.whole:
            return None
        low, high = map(_exact, self._ends)
        return int((high - low) / _exact(self.step or 1)) + 1

    def values(self, most: int = 64) -> tuple[Value, ...] | None:
        """Return all values if there are at most this many, else None."""
        size = self.size
        if self.choices is not None or size is None or size > most:
            return self.choices
        return tuple(self.at(index) for index in range(size))

    def at(self, index: int) -> int | float:
        """Return the value after this many steps, without rounding errors in its digits."""
        value = _exact(self._ends[0]) + index * _exact(self.step or 1)
        return int(value) if self.whole else float(value)

    def distribution(self) -> BaseDistribution:
        """Return Optuna's distribution over these values."""
        if self.choices is not None:
            return CategoricalDistribution(self.choices)
        low, high = self._ends
        if self.whole:
            return IntDistribution(int(low), int(high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(low, high, log=self.log, step=self.step)

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Return the value that the trial suggests."""
        if self.choices is not None:
            return trial.suggest_categorical(name, self.choices)
        low, high = self._ends
        if self.whole:
            return trial.suggest_int(name, int(low), int(high), step=int(self.step or 1), log=self.log)
        value = trial.suggest_float(name, low, high, step=self.step, log=self.log)
        return value if self.step is None else self.at(round((value - low) / self.step))

    def condition(self) -> dict[str, tuple[Value, ...]]:
        """Return the condition: for each setting that it names, the values with which it holds."""
        return {k: v if isinstance(v, tuple) else (v,) for k, v in (self.when or {}).items()}

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Return whether these settings meet the parameter's condition."""
        return all(settings.get(name) in values for name, values in self.condition().items())

    def holds(self, value: Any) -> bool:
        """Return whether the value lies in the range or among the choices."""
        if self.choices is not None:
            return any(value == c and type(value) is type(c) for c in self.choices)
        low, high = self._ends
        number = type(value) is int or (type(value) is float and type(low) is not int)
        if not number or not low <= value <= high:
            return False
        steps = (value - low) / (self.step or 1)
        return self.size is None or abs(steps - round(steps)) < 1e-8

    def __str__(self) -> str:
        if self.choices is not None:
            return "one of " + ", ".join(str(c).lower() if type(c) is bool else str(c) for c in self.choices)
        return (
            f"{self.low} … {self.high}"
            + (f" in steps of {self.step:g}" if self.step else "")
            + (" (log)" if self.log else "")
        )


def _exact(value: float) -> Fraction:
    """Return a decimal number exactly, so that 0.3 is three times 0.1."""
    return Fraction(str(value))
