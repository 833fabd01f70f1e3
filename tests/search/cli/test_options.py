"""The device that commands run on, with a GPU that stands in for one."""

import os

import pytest
import torch

from search.cli.options import COMPILE_THREADS, pick_device
from search.common.errors import SearchError
from tests.model.training.stand_in import stand_in


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set for torch's compiler is set for this test alone."""
    for name in (COMPILE_THREADS, "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("name", "index"), [("cuda:1", 1), ("cuda:0", 0), ("cuda", 0), (None, 0)])
def test_a_gpu_becomes_the_current_one(name: str | None, index: int) -> None:
    with stand_in() as gpu:
        gpu.current = 1 - index
        assert pick_device(name) == torch.device("cuda", index)
        assert gpu.current == index


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with stand_in(), pytest.raises(SearchError, match='"cuda:2", but must be one of cpu, cuda:0, cuda:1'):
        pick_device("cuda:2")


def test_gpus_share_the_cores_that_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores and two GPUs; what was set by hand, or for the threads of a worker, stays."""
    monkeypatch.setattr("model.data.tokenizer.cpu_count", lambda: 8)
    with stand_in():
        pick_device("cuda:0")
        assert os.environ[COMPILE_THREADS] == "4"
        monkeypatch.setenv(COMPILE_THREADS, "3")
        pick_device("cuda:0")
        assert os.environ[COMPILE_THREADS] == "3"
