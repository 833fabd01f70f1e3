"""Names of GPUs as SkyPilot spells them, so that a misspelt one is refused; what they cost; `nvidia-smi`'s numbers."""

import contextlib
import csv
import difflib
import math
from pathlib import Path

from search.common.errors import SearchError

RENTABLE = (
    *("RTX3060", "RTX3070", "RTX3080", "RTX3080Ti", "RTX3090", "RTX3090Ti"),
    *("RTX4070Ti", "RTX4080", "RTX4080SUPER", "RTX4090", "RTX5080", "RTX5090"),
    *("RTX4000-Ada", "RTX5000-Ada", "RTX6000-Ada", "RTXA4000", "RTXA4500", "RTXA5000", "RTXA6000"),
    *("A10", "A10G", "A30", "A40", "A100", "A100-80GB", "A100-80GB-SXM", "L4", "L40", "L40S", "P100", "T4", "V100"),
    *("H100", "H100-NVL", "H100-SXM", "H200", "H200-SXM", "GH200", "B200", "MI300X"),
)
"""GPUs that SkyPilot 0.14 rents. Its own catalogue is read too, if it has fetched one."""


def split(text: str) -> tuple[str, int]:
    """Split "RTX4090" or "RTX4090:2" into name and number of GPUs; raises `SearchError` for other forms."""
    name, _, count = text.partition(":")
    if not name or (count and not (count.isdigit() and 1 <= int(count) <= 16)):
        raise SearchError(f'--gpu is "{text}", but must be a name, or NAME:COUNT with 1 to 16 in one machine')
    return name, int(count or 1)


def rentable_gpu(name: str, catalogues: Path | None = None) -> str:
    """Return the name of a GPU in SkyPilot's spelling.

    Raises `SearchError`, with the nearest names, for one that nobody rents out. `catalogues` is SkyPilot's folder.
    """
    names = {_normalized(n): n for n in (*_catalogue(catalogues or Path.home() / ".sky" / "catalogs"), *RENTABLE)}
    if exact := names.get(_normalized(name)):
        return exact
    near = difflib.get_close_matches(_normalized(name), names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(names[n] for n in near)}?" if near else f"known: {', '.join(sorted(RENTABLE))}"
    raise SearchError(f'--gpu is "{name}", which nobody rents out by that name; {hint}')


def _normalized(name: str) -> str:
    """Return a name without what differs between its spellings."""
    return "".join(c for c in name.lower().removeprefix("nvidia") if c.isalnum()).removeprefix("geforce")


def _catalogue(folder: Path) -> list[str]:
    """Return the names in SkyPilot's own catalogue; empty if it has fetched none."""
    names: list[str] = []
    for file in sorted(folder.glob("*/common/accelerators.csv")):
        with contextlib.suppress(OSError, ValueError, csv.Error), file.open(encoding="utf-8-sig", newline="") as lines:
            names += [row["AcceleratorName"] for row in csv.DictReader(lines) if row.get("AcceleratorName")]
    return names


def read_number(answer: str) -> float | None:
    """Return the number in an answer of `nvidia-smi`; None for anything else, such as [N/A], ERR! or nothing at all."""
    try:
        number = float(answer)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


RTX4090_USD = 0.59
"""Dollars per hour of an RTX 4090 in RunPod's secure cloud when this project began."""


def rental_name(card: str) -> str | None:
    """Return the name under which a card is rented out, from its name in the driver; None if it isn't."""
    normalized = _normalized(card.removeprefix("NVIDIA ").removeprefix("Tesla "))
    prefixes = [name for name in RENTABLE if normalized.startswith(_normalized(name))]
    return max(prefixes, key=len, default=None)


def usd_per_hour(card: str, catalogues: Path | None = None) -> tuple[float, str]:
    """Return dollars per hour of one GPU, from its name in the driver, and the source; 0 if the price isn't known."""
    name = rental_name(card)
    if name is None:
        return 0.0, "not known for this card: put in what you pay, or nothing is counted"
    folder = catalogues or Path.home() / ".sky" / "catalogs"
    prices = [price for file in sorted(folder.glob("*/*/vms.csv")) for price in _prices(file, name)]
    if prices:
        return min(prices), f"the cheapest {name} in SkyPilot's catalogue; put in what you pay"
    if name == "RTX4090":
        return RTX4090_USD, "a common price of an RTX 4090 on demand; put in what you pay"
    return 0.0, f"not known here for {name}: put in what you pay, or nothing is counted"


def _prices(file: Path, name: str) -> list[float]:
    prices = list[float]()
    with contextlib.suppress(OSError, ValueError, csv.Error), file.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            if row.get("AcceleratorName") == name and row.get("Price") and float(row.get("AcceleratorCount") or 0) >= 1:
                prices.append(round(float(row["Price"]) / float(row["AcceleratorCount"]), 2))
    return prices
