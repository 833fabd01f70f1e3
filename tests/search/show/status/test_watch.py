"""Following a study: in plain lines, through an outage, and on a real pseudo-terminal that Ctrl-C leaves."""

import io
import json
import sys
from collections.abc import Iterator

import jsonschema
import pytest
from optuna.trial import TrialState
from rich.console import Console, ConsoleDimensions
from rich.text import Text
from sqlalchemy.exc import OperationalError

from search.analysis.snapshot import Snapshot
from search.cli.start_display import LiveDisplay
from search.common.errors import SearchError
from search.common.signals import StopRequest
from search.show.status.json_schema import schema
from search.show.status.live import Pacing, Pane
from search.show.status.overview import Overview
from search.show.status.watch import Watcher, watch
from search.study.study import open_study
from storage.server.database import Database
from tests.captures import draw, record
from tests.search import raced
from tests.search.show.given import plan, run, snapshot, worker

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do
AWAY = OperationalError("SELECT 1", {}, Exception("server closed the connection"))


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def at_step(step: int, paid: float) -> Snapshot:
    return snapshot(plan(), [run(0, TrialState.RUNNING, None, step, worker="a")], (), [worker("a", paid=paid)])


def ended(paid: float) -> Snapshot:
    proxies = [run(i, TrialState.COMPLETE, 1.5 + i, 100) for i in range(4)]
    return snapshot(plan(), proxies, (), [worker("a", paid=paid)], race_over=True)


def followed(looks: list[Snapshot | Exception]) -> list[str]:
    """Return the lines that a watcher prints without a screen over these reads, without the time of day."""
    given: Iterator[Snapshot | Exception] = iter(looks)

    def look() -> Snapshot:
        snapshot_or_error = next(given)
        if isinstance(snapshot_or_error, Exception):
            raise snapshot_or_error
        return snapshot_or_error

    screen = io.StringIO()
    watcher = Watcher(look, Pane(), Console(file=screen, width=80), pace=Pacing(0.0))
    watcher.run(StopRequest(), plain=True)
    assert next(given, None) is None
    return [line.partition(" ")[2] for line in screen.getvalue().splitlines()]


def test_a_line_is_said_where_something_changed_and_an_outage_once() -> None:
    lines = followed([at_step(20, 10), at_step(40, 20), AWAY, AWAY, at_step(60, 30), ended(40)])
    assert [line.partition(";")[0] for line in lines] == [
        "given running: proxies 0 of 4, confirmations 0 of about 2, 1 worker",
        "the database doesn't answer",
        "the database answers again",
        "given finished: proxies 4 of 4, 1 worker, best proxy 1.5000 BPB, trial 0",
    ]


def test_what_is_no_outage_ends_it() -> None:
    with pytest.raises(SearchError, match="gone"):
        followed([at_step(20, 10), SearchError("the study is gone")])


def test_a_slow_look_is_repeated_seldom() -> None:
    """A look of 1 s may take a twentieth of the time; one of no time comes again after 2 s; one that fails too."""
    clock = Clock()
    pace = Pacing(2.0, clock)

    def slow() -> None:
        clock.now += 1

    assert pace.due()
    pace.timed(slow)
    clock.now += 19.9
    assert not pace.due()
    clock.now += 0.2
    assert pace.due()
    with pytest.raises(ZeroDivisionError):
        pace.timed(lambda: 1 / 0)
    assert not pace.due()
    clock.now += 2
    assert pace.due()


def test_a_screen_that_is_old_says_so() -> None:
    clock, console = Clock(), Console(width=80, height=24, file=io.StringIO(), record=True)
    pane = Pane(clock=clock)
    pane.show(at_step(20, 60), 2.0)
    console.print(pane)
    assert "doesn't answer" not in console.export_text()
    clock.now += 65
    console.print(pane)
    text = console.export_text()
    assert "as of 1 min ago: the database doesn't answer" in text
    assert "2 min so far" in text


def test_start_says_each_ended_trial_once_and_none_that_it_knew(database: Database) -> None:
    study = open_study(database, raced.plan())
    trainer = raced.Trainer(study, lambda at: 1.3 + at, lambda at: 1.3 + at)
    trainer.step()
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80, height=24, _environ={})
    display = LiveDisplay(console, Clock())
    display.skip_finished(study)
    with display:
        for _ in range(2):
            trainer.step()
            display.update(study, ())
        display.update(study, ())
    lines = [line for line in Text.from_ansi(output.getvalue()).plain.splitlines() if " BPB " in line]
    assert [line.split("BPB")[0].split()[:2] for line in lines if "tokens" in line] == [["trial", "1"], ["trial", "2"]]
    assert "2 of 12" in Text.from_ansi(output.getvalue()).plain


def test_start_draws_afresh_where_the_terminal_was_resized(database: Database) -> None:
    """The last lines are printed again, and not wrapped by the terminal."""
    study = open_study(database, raced.plan())
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80, height=24, _environ={})
    display = LiveDisplay(console, Clock())
    with display:
        display.say("worker a was ended by SIGKILL; its trial goes to another")
        display.update(study, ())
        console.size = ConsoleDimensions(60, 24)
        display.update(study, ())
        after = output.getvalue().rpartition("\x1b[2J")[2]
    assert after.count("worker a was ended by SIGKILL") == 1
    assert max(len(line) for line in Text.from_ansi(after).plain.splitlines()) <= 60


def test_ctrl_c_leaves_a_real_terminal_as_it_was(database: Database, database_url: str) -> None:
    """A screen of its own is taken and given back, the cursor too; the exit code is 0; the state stays in view."""
    study = open_study(database, raced.plan(baseline=0.1))
    trainer = raced.Trainer(study, lambda at: 1.3 + at, lambda at: 1.3 + at)
    for _ in range(5):
        trainer.step()
    command = [sys.executable, "-m", "search", "status", "--study", "made", "--watch", "--storage", database_url]
    frames = record(command, 80, 24, frames=2)
    picture = draw(frames[-2], 80, "made")
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert "5&#160;of&#160;12" in picture
    after = frames[-1]
    assert after.index("\x1b[?1049l") < after.rindex("5 of 12")
    assert "\x1b[?25h" in after
    assert max(len(line.plain) for line in map(Text.from_ansi, frames[-2].splitlines())) <= 80


@pytest.mark.parametrize("as_json", [False, True])
def test_following_what_is_finished_says_so_and_ends(
    database: Database, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    study = open_study(database, raced.plan("top = 1\nwiden = 0\nseeds = 1\nrandom = 0"))
    raced.Trainer(study, lambda at: 1.3 + at, lambda at: 1.3 + at).run()
    watch(database, "made", Console(width=80), StopRequest(), every=2, as_json=as_json)
    (line,) = capsys.readouterr().out.splitlines()
    if as_json:
        jsonschema.validate(json.loads(line), schema(Overview))
    else:
        assert "made finished: proxies 12 of 12, confirmations 2 of 2, 0 workers, best confirmed" in line
