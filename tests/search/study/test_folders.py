"""Two servers may hold studies of one name: what a machine keeps of one is nothing to the other."""

import re
from pathlib import Path

import pytest
import torch

from search.common import paths
from search.common.signals import StopRequest
from search.study.identity import ID
from search.study.plan import Plan
from search.study.study import LinkedStudy, load_study, open_study
from search.worker.worker import Worker
from storage.outbox.journal import Journal
from storage.queue.trial_queue import Claim
from storage.server.database import Database, connect
from tests.conftest import database_with_tables
from tests.search.processor import ONCE
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def opened(database: Database) -> LinkedStudy:
    text = PLAN[: PLAN.index("[baselines")].replace("trials = 7", "trials = 1").replace("top = 1", "top = 0")
    return open_study(database, Plan.parse(text, name="tiny", origin="a test"))


def test_a_studys_folder_is_its_own_and_stays(database: Database, embedded_url: str) -> None:
    study, other = opened(database), connect(database_with_tables(embedded_url))
    assert re.fullmatch("tiny-[0-9a-f]{8}", study.folder)
    assert opened(database).folder == load_study(database, "tiny").folder == study.folder
    assert opened(other).folder != study.folder
    other.close()


@pytest.mark.parametrize("stored", ["", "../" * 12, 7])
def test_a_study_without_an_id_has_its_name_alone(database: Database, stored: object) -> None:
    """Those from before there were any go on where they were; and no path is made of anything else."""
    opened(database).proxies.set_user_attr(ID, stored)
    assert load_study(database, "tiny").folder == "tiny"


def test_what_was_written_for_one_server_is_not_lost_to_another(
    database: Database, embedded_url: str, home: Path
) -> None:
    """A worker dies with a message that its server hadn't taken; the next one here works for another server."""
    study, other = opened(database), connect(database_with_tables(embedded_url))
    claim = study.proxy_queue.claim("one", 1)
    assert isinstance(claim, Claim)
    journal = Journal(paths.outbox(study.folder))
    journal.append({"queue": "tiny", "trial_id": claim.trial_id, "worker": "one", "report": [50, 2.0]})
    journal.close()

    Worker(opened(other), "two", torch.device("cpu"), _stopped(), lambda line: None, **ONCE).run()
    assert study.proxies.trials[0].intermediate_values == {}
    Worker(opened(database), "two", torch.device("cpu"), _stopped(), lambda line: None, **ONCE).run()
    assert study.proxies.trials[0].intermediate_values == {50: 2.0}
    other.close()


def _stopped() -> StopRequest:
    stop = StopRequest()
    stop.ask()
    return stop
