"""A card's price, by the name that its driver gives it."""

from pathlib import Path

import pytest

from search.machine.gpu_catalog import RTX4090_USD, rental_name, usd_per_hour


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA GeForce RTX 3080 Ti", "RTX3080Ti"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("Tesla T4", "T4"),
        ("Radeon VII", None),
    ],
)
def test_cards_are_known_by_what_drivers_call_them(card: str, name: str | None) -> None:
    assert rental_name(card) == name


def test_the_cheapest_in_the_catalogue_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "v8" / "runpod"
    folder.mkdir(parents=True)
    (folder / "vms.csv").write_text(
        "InstanceType,AcceleratorName,AcceleratorCount,Price\n"
        "1x,H100,1.0,2.99\n2x,H100,2.0,5.00\n1x,A100,1.0,1.5\ncpu,,,0.1\n"
    )
    assert usd_per_hour("NVIDIA H100 80GB HBM3", tmp_path)[0] == 2.5
    assert usd_per_hour("NVIDIA L40S", tmp_path) == (
        0.0,
        "not known here for L40S: put in what you pay, or nothing is counted",
    )
    assert usd_per_hour("NVIDIA GeForce RTX 4090", tmp_path)[0] == RTX4090_USD
    assert usd_per_hour("Radeon VII", tmp_path)[0] == 0.0
