from dataclasses import replace

import pytest
import torch

from model.data.corpus import Corpus
from search.machine.report_size import (
    agree_on_report_bytes,
    largest_shape,
    measured,
    usual_shape,
)
from search.study.plan import Plan
from search.study.shipped import shipped
from search.study.study import LinkedStudy, known_report_bytes, open_study, stored_plan
from search.study.study_file import read
from storage.server.database import Database
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
CPU = torch.device("cpu")
FREE = PLAN.replace("report_bytes = 3000\n", "")


def plan(text: str = FREE) -> Plan:
    return Plan.parse(text, name="tiny", origin="a test")


def test_usual_and_largest_networks_are_of_the_space() -> None:
    """babylm: the baseline made by hand, and the upper ends of its ranges."""
    babylm = read("babylm")
    (usual, few), (largest, many) = usual_shape(babylm), largest_shape(babylm)
    assert (usual.n_layer, usual.n_head, usual.head_dim, few) == (12, 4, 64, 6144)
    ends = {name: babylm.space.parameters[name] for name in ("n_layer", "n_head", "head_dim", "vocab_size")}
    highest = {name: p.high if p.choices is None else max(map(int, p.choices)) for name, p in ends.items()}
    assert {**largest.table(), "vocab_size": many}.items() >= highest.items()


def test_each_shipped_study_has_both() -> None:
    for name in shipped():
        for shape in (usual_shape, largest_shape):
            config, vocab_size = shape(read(name))
            assert config.n_layer >= 1
            assert vocab_size >= 320


def test_bytes_are_chosen_once_for_a_study(database: Database, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first worker measured stands, however fast the second one is."""
    study = open_study(database, plan())
    assert known_report_bytes(study.plan, study.proxies.user_attrs) is None
    first = agree_on_report_bytes(study, corpus, CPU)
    assert first in {16_384 * 2**n for n in range(5)}
    monkeypatch.setattr("search.machine.report_size.measured", lambda *args: 3 * first)
    assert agree_on_report_bytes(study, corpus, CPU) == first == known_report_bytes(plan(), study.proxies.user_attrs)


def test_bytes_of_the_file_stand(database: Database, corpus: Corpus) -> None:
    study: LinkedStudy = open_study(database, plan(PLAN))
    assert agree_on_report_bytes(study, corpus, CPU) == 3000
    assert "report_bytes" not in study.proxies.user_attrs


def test_studies_of_earlier_versions_keep_their_bytes(database: Database) -> None:
    """These stored the default of their time, which their files don't name."""
    fresh = plan()
    open_study(database, replace(fresh, proxy=replace(fresh.proxy, report_bytes=262_144)))
    again = open_study(database, fresh)
    assert again.plan.proxy.report_bytes == 262_144
    assert stored_plan(database, "tiny").proxy.report_bytes == 262_144


def test_slower_machines_measure_less(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for speed in (1e3, 1e9):
        monkeypatch.setattr("search.machine.report_size.evaluation_tokens_per_second", lambda *args, s=speed: s)
        found.append(measured(plan(), corpus, CPU))
    assert found == [16_384, 262_144]
