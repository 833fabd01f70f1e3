"""What an hour of a GPU costs, as far as this machine knows: SkyPilot's catalogue, where it has fetched one."""

import contextlib
import csv
from pathlib import Path

from search.gpus import KNOWN, plain

RTX4090_USD = 0.59
"""What RunPod asked for an RTX 4090 in its secure cloud when this project began."""


def by_card(card: str) -> str | None:
    """Return the name under which a card is rented out, given what its driver calls it; None for others."""
    said = plain(card.removeprefix("NVIDIA ").removeprefix("Tesla "))
    fitting = [name for name in KNOWN if said.startswith(plain(name))]
    return max(fitting, key=len, default=None)


def usd_per_hour(card: str, catalogues: Path | None = None) -> tuple[float, str]:
    """Return the price of one such GPU for an hour, 0 where it isn't known, and where it comes from."""
    name = by_card(card)
    if name is None:
        return 0.0, "not known for this card: put in what you pay, or nothing is counted"
    folder = catalogues or Path.home() / ".sky" / "catalogs"
    found = [price for file in sorted(folder.glob("*/*/vms.csv")) for price in _prices(file, name)]
    if found:
        return min(found), f"the cheapest {name} in SkyPilot's catalogue; put in what you pay"
    if name == "RTX4090":
        return RTX4090_USD, "a common price of an RTX 4090 on demand; put in what you pay"
    return 0.0, f"not known here for {name}: put in what you pay, or nothing is counted"


def _prices(file: Path, name: str) -> list[float]:
    found = list[float]()
    with contextlib.suppress(OSError, ValueError, csv.Error), file.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            if row.get("AcceleratorName") == name and row.get("Price") and float(row.get("AcceleratorCount") or 0) >= 1:
                found.append(round(float(row["Price"]) / float(row["AcceleratorCount"]), 2))
    return found
