from pathlib import Path

import pytest

from search.common.errors import SearchError
from search.machine.gpu_catalog import rentable_gpu, split


@pytest.mark.parametrize("given", ["RTX4090", "rtx4090", "RTX-4090", "NVIDIA GeForce RTX 4090"])
def test_spellings_of_one_name(given: str, tmp_path: Path) -> None:
    assert rentable_gpu(given, tmp_path) == "RTX4090"


@pytest.mark.parametrize(("given", "hint"), [("RTX4900", "RTX4090"), ("H1000", "H100"), ("warp-drive", "known: A10,")])
def test_an_unknown_name_is_refused_with_the_nearest(given: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=f'--gpu is "{given}", which nobody rents out by that name') as refused:
        rentable_gpu(given, tmp_path)
    assert hint in str(refused.value)


def test_skypilots_catalogue_is_asked_too(tmp_path: Path) -> None:
    folder = tmp_path / "v8" / "common"
    folder.mkdir(parents=True)
    (folder / "accelerators.csv").write_text("AcceleratorName,Clouds\nRTX9090,\"['Vast']\"\n")
    assert rentable_gpu("rtx9090", tmp_path) == "RTX9090"


def test_number_in_a_machine() -> None:
    assert split("RTX4090") == ("RTX4090", 1)
    assert split("H100:8") == ("H100", 8)
    for wrong in (":2", "H100:0", "H100:17", "H100:two", ""):
        with pytest.raises(SearchError, match="must be a name, or NAME:COUNT"):
            split(wrong)
