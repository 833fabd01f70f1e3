import numpy as np
import pytest

from tests.benchmarks.search.answers import Answers
from tests.benchmarks.search.made_up import BASELINE, SCALE, STUDY, failing, row
from tests.benchmarks.table.rows import Params, Row, Table


def answers(*rows: Row, replay: int = 0) -> Answers:
    return Answers(Table(rows, STUDY.read_text(), 5.0, {}), SCALE, replay)


def other(**changes: object) -> Params:
    return {**BASELINE, **changes}


def test_places_are_shares_of_each_range() -> None:
    """√(1e-4 · 3e-2) is half-way on a logarithmic scale; 2304 from 512 to 4096; 4 the third of six batches."""
    params = other(max_lr=(1e-4 * 3e-2) ** 0.5, vocab_size=2304, n_layer=6, n_head=1, head_dim=16, batch_size=4)
    assert SCALE.place(params) == pytest.approx([0.5, 0.5, 1, 0, 1 / 3, 0.4, 0])


def test_a_draw_is_answered_by_the_nearest_row_that_answered_no_other() -> None:
    """From n_layer 3 the rows at 4, 2, 5 and 1 are a fifth of the range away, twice, then two, twice."""
    told = answers(*(row(n, other(n_layer=n), 2.0) for n in (1, 2, 4, 5)))
    drawn = [told.nearest(other(n_layer=3, max_lr=7.3e-3)).number for _ in range(4)]
    assert drawn == [2, 4, 1, 5]
    with pytest.raises(IndexError, match="all 4 rows"):
        told.nearest(other(n_layer=3))


def test_another_batch_is_nearer_than_another_schedule() -> None:
    told = answers(row(0, other(batch_size=16), 2.0), row(1, other(schedule="warmup_stable_decay"), 2.0))
    assert told.nearest(other(max_lr=7.3e-3)).number == 0


def test_a_row_drawn_exactly_is_itself_however_often() -> None:
    told = answers(row(0, BASELINE, 2.0), row(1, other(n_layer=3), 2.0))
    assert [told.nearest(dict(BASELINE)).number for _ in range(2)] == [0, 0]
    assert told.nearest(other(max_lr=7.3e-3)).number == 1  # the nearest is taken
    assert told.row(BASELINE).number == 0
    with pytest.raises(KeyError):
        told.row(other(n_layer=5))


def test_long_runs_scatter_about_the_truth_as_the_tables_noise_says() -> None:
    told = answers(row(0, BASELINE, 2.0, noise=0.1), row(1, other(n_layer=3), 3.0, noise=0.1))
    finals = np.array([told.long(told.table.rows[0], repeat).final for repeat in range(400)])
    assert set(np.round(np.abs(finals - 2.0), 6)) == {round(0.1 * 2**0.5, 6)}
    assert finals.mean() == pytest.approx(2.0, abs=0.03)
    assert told.long(told.table.rows[0], 7) == told.long(told.table.rows[0], 7)
    again = answers(*told.table.rows, replay=1)
    assert finals.tolist() != [again.long(told.table.rows[0], repeat).final for repeat in range(400)]


def test_a_long_run_has_the_shape_of_one_of_the_rows_own() -> None:
    told = answers(row(0, BASELINE, 2.0, noise=0.1))
    curve = told.long(told.table.rows[0], 0)
    assert np.diff(curve.bpb) == pytest.approx(np.diff(told.table.rows[0].long[0].bpb))


def test_a_row_that_diverged_diverges() -> None:
    assert answers(failing(row(0, BASELINE, 2.0))).long(failing(row(0, BASELINE, 2.0)), 3).failed
