"""A record's fields are checked and fitted, whether a value was given or is the default."""

from dataclasses import dataclass, fields

import pytest

from model.errors import SettingsError
from model.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class Valid(Settings):
    """Defaults that are values as they stand."""

    layers: int = setting(1, "layers", at_least=1)
    rate: float = setting(0.5, "rate", above=0)
    kind: str = setting("a", "kind", choices=("a", "b"))
    sizes: tuple[int, ...] | None = setting(None, "sizes")


@dataclass(frozen=True, kw_only=True)
class Unfitted(Settings):
    """A default that TOML could hold for a number that isn't whole."""

    rate: float = setting(1, "rate")


@dataclass(frozen=True, kw_only=True)
class Refused(Settings):
    """A default out of its range: another value must be given."""

    layers: int = setting(0, "layers", at_least=1)


def test_defaults_stand_and_values_are_fitted() -> None:
    record = Valid()
    assert (record.layers, record.rate, record.kind, record.sizes) == (1, 0.5, "a", None)
    assert Valid(layers=1, rate=1, sizes=[3, 4]) == Valid(rate=1.0, sizes=(3, 4))  # type: ignore[arg-type]
    assert [type(getattr(Valid(rate=1), f.name)) for f in fields(Valid)] == [int, float, str, type(None)]


def test_a_default_is_fitted_as_a_value_is() -> None:
    assert [type(record.rate) for record in (Unfitted(), Unfitted(rate=1), Unfitted(rate=1.0))] == [float] * 3


def test_a_default_out_of_range_is_refused_every_time() -> None:
    assert Refused(layers=1).layers == 1
    for _ in range(2):
        with pytest.raises(SettingsError, match="`layers` is 0, but must be"):
            Refused()


@pytest.mark.parametrize("wrong", [{"layers": 0}, {"rate": 0.0}, {"kind": "c"}, {"layers": True}, {"rate": "0.5"}])
def test_what_equals_no_valid_value_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=f"`{next(iter(wrong))}` is"):
        Valid(**wrong)  # type: ignore[arg-type]
