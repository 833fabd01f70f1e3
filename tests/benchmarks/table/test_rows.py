import math
from pathlib import Path

import pytest

from tests.benchmarks.search.made_up import BASELINE, curve, failing, row
from tests.benchmarks.table.rows import TABLE, Params, Row, Table, read, write


def table_of(*rows: Row) -> Table:
    return Table(rows, "", 5.0, {})


def lines(made: Row) -> list[dict[str, object]]:
    """A row's runs as the table's file has them."""
    kinds = [("whole", made.proxy), *(("long", c) for c in made.long)]
    return [
        {"number": made.number, "kind": kind, "percent": 100, "seed": c.seed, "params": dict(made.params)}
        | {"bpb": list(c.bpb), "train_bpb": list(c.train_bpb), "steps": list(c.steps), "n_params": made.n_params}
        | ({"failed": "DivergedError"} if c.failed else {})
        for kind, c in kinds
    ]


def test_a_table_is_read_as_it_was_written_whatever_the_order_of_its_runs(tmp_path: Path) -> None:
    params: Params = {**BASELINE, "n_layer": 3}
    first, second = row(0, BASELINE, 2.0, noise=0.1), failing(row(1, params, 2.5))
    write(tmp_path / "table", {"study": "a study", "setup": {"long_seconds": 5.0}}, [*lines(second), *lines(first)])
    found = read(tmp_path / "table")
    assert found.rows == (first, second)
    assert (found.study, found.long_seconds) == ("a study", 5.0)


def test_a_configuration_without_proxy_or_long_run_is_left_out(tmp_path: Path) -> None:
    made = [lines(row(n, BASELINE, 2.0)) for n in range(3)]
    runs = [*made[0], *made[1][:1], *made[2][1:]]
    write(tmp_path / "table", {"study": "", "setup": {"long_seconds": 5.0}}, runs)
    assert [r.number for r in read(tmp_path / "table").rows] == [0]


def test_noise_is_what_two_seeds_differ_by() -> None:
    """2.0 and 2.2, 3.0 and 3.4: squares about the means .02 + .08, of two degrees of freedom."""
    table = table_of(row(0, BASELINE, 2.1, noise=0.1), row(1, BASELINE, 3.2, noise=0.2))
    assert table.noise == pytest.approx(math.sqrt(0.05))
    widened = math.sqrt(2)  # of two runs each is nearer to their mean than to the true one
    assert table.rows[1].residuals == pytest.approx([-0.2 * widened, 0.2 * widened])
    assert Row(2, BASELINE, curve(3.0, 0), (curve(2.0, 100),), 1).residuals == ()
    assert math.isnan(table_of(failing(row(0, BASELINE, 2.0))).noise)


def test_what_diverges_is_worth_as_much_as_the_worst_that_does_not() -> None:
    good, bad, lost = row(0, BASELINE, 2.0), row(1, BASELINE, 3.0), failing(row(2, BASELINE, 2.0))
    table = table_of(lost, bad, good)
    assert [table.truth(r) for r in (good, bad, lost)] == [2.0, 3.0, 3.0]
    assert table.ranking == [good, bad, lost]
    assert curve(2.0, 0, failed=True).final == math.inf


@pytest.mark.skipif(not TABLE.exists(), reason="the table is not made yet")
def test_the_kept_table_is_whole() -> None:
    table = read()
    assert TABLE.stat().st_size <= 3_000_000
    assert [r.number for r in table.rows[:2]] == [0, 1]
    assert table.rows[0].params == BASELINE
    assert len({frozenset(r.params.items()) for r in table.rows}) == len(table.rows)
    for r in table.rows:
        for c in (r.proxy, *r.long):
            assert c.failed or len(c.bpb) == 20
            assert len(c.bpb) == len(c.train_bpb) == len(c.steps)
            assert list(c.steps) == sorted(c.steps)
