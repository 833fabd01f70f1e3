import json
import re
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import create_trial
from rich.console import Console

from search.cli.main import main
from search.replay.many_studies import Estimate, replay_all, replay_tasks
from search.replay.view import ReplayResult, figure, group_results, overall, table, terminal
from tests.search.replay.test_many_studies import made

FAST = ("--studies", "3", "--jobs", "1", "--only", "none", "--only", "median (defaults)")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = [f"{r},{p / 10},{r % 7 + r / 100 + 5 - p / 2}" for r in range(16) for p in range(1, 11)]
    path = tmp_path / "made.csv"
    path.write_text("\n".join(["run_id,progress,loss", *lines]), encoding="utf-8")
    return path


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command here; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["lilm-search", "replay", *arguments])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("LILM_SEARCH_STORAGE", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code or 0))


def test_json_for_machines(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    html = file.parent / "made.html"
    assert command(monkeypatch, str(file), "--json", *FAST, "--html", str(html)) == 0
    fixed, budget = json.loads(capsys.readouterr().out)
    assert (fixed["set"], fixed["runs"], fixed["reports"], fixed["trials"], fixed["budget"]) == (
        "made",
        16,
        20,
        16,
        None,
    )
    assert (budget["trials"], budget["budget"], budget["studies"], budget["seed"]) == (None, 4.0, 3, 0)
    assert list(fixed["pruners"]) == ["none", "median (defaults)"]
    none = fixed["pruners"]["none"]
    assert (none["cost"], none["regret"]["mean"]) == ({"mean": 1.0, "low": 1.0, "high": 1.0}, 0.0)
    assert fixed["pruners"]["median (defaults)"]["cost"]["mean"] < 1
    text = html.read_text(encoding="utf-8")
    assert "<script src=" not in text  # works without a network
    assert "made (16 runs), fixed trials: 3 studies of 16 trials" in text


def test_a_table_for_people(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    extra = ("--pruner", "mine=optuna.pruners:ThresholdPruner(upper=8.0)", "--only", "mine", "--budget", "2.5")
    assert command(monkeypatch, str(file), *FAST, *extra) == 0
    text = capsys.readouterr().out
    assert "made (16 runs), fixed trials: 3 studies of 16 trials" in text
    assert "made (16 runs), fixed budget: 3 studies of 2.5 full runs" in text
    assert re.search(r"none +100\.0%", text)
    assert re.search(r"mine +\d", text)
    assert "Wilson's for P(best pruned)" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_pruner_in_a_file_beside_the_user_is_found(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "from optuna.pruners import NopPruner\nclass Kind(NopPruner):\n    pass\n"
    (file.parent / "lilm_beside.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(file.parent)
    given = ("--pruner", "kind=lilm_beside:Kind()", "--only", "kind", "--studies", "2", "--jobs", "2")
    assert command(monkeypatch, "made.csv", "--json", *given) == 0
    assert json.loads(capsys.readouterr().out)[0]["pruners"]["kind"]["cost"]["mean"] == 1
    sys.modules.pop("lilm_beside")


def test_a_study_of_anyone_s_in_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="theirs", storage=url)
    for n in range(12):
        study.add_trial(create_trial(value=float(n), intermediate_values={e: n + 3.0 - e for e in range(4)}))
    study._storage._backend.engine.dispose()  # type: ignore[attr-defined]
    assert command(monkeypatch, "--storage", url, "--study", "theirs", "--json", *FAST) == 0
    fixed, _ = json.loads(capsys.readouterr().out)
    assert (fixed["set"], fixed["runs"], fixed["reports"]) == ("theirs", 12, 4)
    assert fixed["pruners"]["none"]["regret"]["mean"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to replay: name CSV files"),
        (("no.csv",), "no.csv can't be read: No such file or directory"),
        (("FILE", "--budget", "0"), "--budget is 0, but must be a number of full runs > 0"),
        (("FILE", "--budget", "inf"), "--budget is inf, but must be"),
        (("FILE", "--only", "bandit"), '--only is "bandit", but must be part of one of these names: none'),
        (("FILE", "--pruner", "x=optuna.pruners:Nop"), '--pruner "x" is Nop, but must be a call with literals'),
        (("--storage", "sqlite:///no.db", "--study", "s"), "names the file no.db, but there is none"),
        (
            ("FILE", *FAST, "--html", "/no/such/folder.html"),
            "--html is /no/such/folder.html, but the folder /no/such does not exist; create it first",
        ),
    ],
)
def test_a_mistake_is_answered_in_a_line_or_two(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    assert command(monkeypatch, *(str(file) if a == "FILE" else a for a in arguments)) == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) <= 2


def outcomes_of(*names: str) -> list[ReplayResult]:
    parts = replay_tasks([made(name) for name in names], 20, 6.0, {}, ["none", "ASHA"])
    return group_results(parts, replay_all(parts, range(2), 1, lambda: None), 2)


def printed(thing: Any, width: int) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(thing, highlight=False)
    return capture.get()


def test_intervals_stand_beside_their_means_where_there_is_room() -> None:
    outcome = outcomes_of("a")[0]
    assert "100.0% ±0.0" in printed(table(outcome, 140), 140)
    narrow = printed(table(outcome, 80), 80)
    assert "100.0% ±0.0" not in narrow
    assert "±0.0" in narrow
    assert "tried" not in narrow
    assert "tried" in printed(table(outcomes_of("a")[1], 80), 80)


def test_several_sets_are_told_together_by_mean_and_worst() -> None:
    one, two = (
        ReplayResult(
            curves=made(name),
            limit=outcomes_of("a")[0].limit,
            studies=2,
            figures={"mine": dict.fromkeys(("cost", "relative_regret", "rank", "best_pruned"), Estimate(value))},
        )
        for name, value in (("a", 0.2), ("b", 0.4))
    )
    cells = re.findall(r"mine +(.*)", printed(overall([one, two]), 100))[0].split()
    assert cells == ["30.0%", "30.0%", "40.0%", "30.0%", "40.0%", "30.0%", "40.0%"]
    text = printed(terminal(outcomes_of("a", "b"), Console(width=100)), 100)
    assert "2 sets, fixed budget: mean over the sets, and the worst set's" in text


def test_the_figure_has_a_row_for_each_set_and_setting() -> None:
    group_results = outcomes_of("a", "b")
    drawn = figure(group_results)
    assert len(drawn.data) == 4 * 2 * 3  # outcomes × panels × pruners
    assert [trace.name for trace in drawn.data if trace.showlegend] == list(group_results[0].figures)
    first = group_results[0].figures["none"]
    assert list(drawn.data[0].x) == [first["cost"].mean] == [1.0]
    assert list(drawn.data[1].error_y.array) == [pytest.approx((first["best_pruned"].high or 0) - 0)]


def test_a_hyperband_s_brackets_stand_beside_its_name(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = (str(file), "--studies", "1", "--jobs", "1", "--only", "none", "--only", "hyperband")
    monkeypatch.setenv("COLUMNS", "140")
    assert command(monkeypatch, *fast) == 0
    assert "hyperband (eta 3), 3 brackets" in capsys.readouterr().out  # 3² ≤ 20 reports < 3³
    assert command(monkeypatch, *fast, "--json") == 0
    assert [o["brackets"] for o in json.loads(capsys.readouterr().out)] == [{"hyperband (eta 3)": 3}] * 2
