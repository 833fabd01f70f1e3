"""Check of a text: whether it exists, can be read and has the column; for the hub, whether access is granted."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from model.config import DataConfig
from model.data.preview import first_rows
from model.data.sources import HUB, documents
from model.errors import DataError
from search.doctor.finding import Check, Finding, bad, ok

READING_SECONDS = 5.0
"""Seconds for which a text is read: faults mostly show from the beginning."""
HUB_SECONDS = 10.0
"""Longest wait for the hub."""


def checks(config: DataConfig) -> list[Check]:
    """Return the check of a text."""
    return [Check(name="data", look=lambda: look(config), seconds=60.0)]


def look(config: DataConfig, clock: Callable[[], float] = time.monotonic) -> Iterator[Finding]:
    """Check a text by reading it as a study would."""
    name = config.source.removeprefix(HUB)
    if name != config.source and not Path(name).exists():
        yield from of_hub(name)
        return
    try:
        yield ok("data", f"{config.source}: {_read(config, clock)}")
    except DataError as error:
        yield bad("data", str(error), _cure(config, str(error)))


def _read(config: DataConfig, clock: Callable[[], float]) -> str:
    """Read documents for some seconds, and return a sentence with their number."""
    end, count, size = clock() + READING_SECONDS, 0, 0
    for _, text in documents(config):
        count, size = count + 1, size + len(text)
        if clock() >= end:
            return f"the first {count:,} documents ({size / 1e6:.1f} million characters) can be read"
    return f"{count:,} documents ({size / 1e6:.2g} million characters), all can be read"


def _cure(config: DataConfig, message: str) -> str:
    if "not UTF-8" in message:
        return "iconv -f LATIN1 -t UTF-8 FILE > NEW-FILE (or what it is written in)"
    if "no column" in message or "no key" in message:
        try:
            columns = " or ".join(c for c in first_rows(config.source).columns if c)
            return f"--column {columns}" if columns else ""
        except DataError:
            return ""
    if "no file matches" in message:
        return "check the path: ls FILE; a study file's paths start from its own folder"
    return ""


def of_hub(name: str) -> Iterator[Finding]:
    """Ask the hub for a data set's description."""
    import huggingface_hub
    from huggingface_hub import errors

    token = "get one at huggingface.co/settings/tokens, then: export HF_TOKEN=hf_…"
    try:
        huggingface_hub.HfApi().dataset_info(name, timeout=HUB_SECONDS)
    except errors.GatedRepoError:
        yield bad("data", f"{HUB}{name} is gated", f"ask for access on its page; {token}")
    except errors.RepositoryNotFoundError:
        yield bad("data", f"the hub knows no {name}, or shows it only to some", f"check the name; {token}")
    except Exception as error:  # errors of several libraries, without a common base
        message = f"the hub can't be asked for {name}: {_kind(error)}"
        yield bad(
            "data", message, "curl -sI https://huggingface.co | head -1; text that has been prepared is still used"
        )
    else:
        yield ok("data", f"{HUB}{name} can be had from the hub")


def _kind(error: BaseException) -> str:
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line}"[:160] if line else type(error).__name__
