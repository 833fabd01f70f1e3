"""The names of GPUs as SkyPilot spells them: one that nobody rents out would be searched for in vain for ever."""

import contextlib
import csv
import difflib
import math
from pathlib import Path

from search.common.errors import SearchError

KNOWN = (
    *("RTX3060", "RTX3070", "RTX3080", "RTX3080Ti", "RTX3090", "RTX3090Ti"),
    *("RTX4070Ti", "RTX4080", "RTX4080SUPER", "RTX4090", "RTX5080", "RTX5090"),
    *("RTX4000-Ada", "RTX5000-Ada", "RTX6000-Ada", "RTXA4000", "RTXA4500", "RTXA5000", "RTXA6000"),
    *("A10", "A10G", "A30", "A40", "A100", "A100-80GB", "A100-80GB-SXM", "L4", "L40", "L40S", "P100", "T4", "V100"),
    *("H100", "H100-NVL", "H100-SXM", "H200", "H200-SXM", "GH200", "B200", "MI300X"),
)
"""Those that SkyPilot 0.14 rents; its own catalogue, where it has fetched one, is asked too."""


def split(text: str) -> tuple[str, int]:
    """Return name and number of "RTX4090" or "RTX4090:2"; raises `SearchError`."""
    name, _, count = text.partition(":")
    if not name or (count and not (count.isdigit() and 1 <= int(count) <= 16)):
        raise SearchError(f'--gpu is "{text}", but must be a name, or NAME:COUNT with 1 to 16 in one machine')
    return name, int(count or 1)


def known_gpu(name: str, catalogues: Path | None = None) -> str:
    """Return the name as it is spelt; raises `SearchError` with the nearest for one that nobody rents out."""
    names = {plain(n): n for n in (*_catalogue(catalogues or Path.home() / ".sky" / "catalogs"), *KNOWN)}
    if found := names.get(plain(name)):
        return found
    near = difflib.get_close_matches(plain(name), names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(names[n] for n in near)}?" if near else f"known: {', '.join(sorted(KNOWN))}"
    raise SearchError(f'--gpu is "{name}", which nobody rents out by that name; {hint}')


def plain(name: str) -> str:
    """Return what two spellings of one name have in common."""
    return "".join(c for c in name.lower().removeprefix("nvidia") if c.isalnum()).removeprefix("geforce")


def _catalogue(folder: Path) -> list[str]:
    """Return the names in SkyPilot's own catalogue, empty where it has fetched none."""
    found: list[str] = []
    for file in sorted(folder.glob("*/common/accelerators.csv")):
        with contextlib.suppress(OSError, ValueError, csv.Error), file.open(encoding="utf-8-sig", newline="") as lines:
            found += [row["AcceleratorName"] for row in csv.DictReader(lines) if row.get("AcceleratorName")]
    return found


def read_number(answer: str) -> float | None:
    """Return a number that `nvidia-smi` tells; None for words in its place, such as [N/A], ERR! or nothing at all."""
    try:
        number = float(answer)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


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
