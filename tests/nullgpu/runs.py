"""Groups of entries, each in a process of its own on the null GPU, and what came of them."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.nullgpu.build import ROOT, NullGpu


@dataclass(frozen=True, kw_only=True)
class Group:
    """Entries of `checks` or `measures` that share a process, and the card they run on."""

    name: str
    card: str = "RTX 4090, sm_89"
    settings: tuple[tuple[str, str], ...] = ()
    minutes: int = 60


CHECKS = (
    Group(name="eager"),
    Group(name="memory"),
    Group(name="pace"),
    Group(name="devices", card="2 × RTX 4090", settings=(("NULLGPU_DEVICES", "2"),)),
    Group(name="broken"),
    Group(name="compiled"),
    Group(name="compiled", card="H200, sm_90", settings=(("NULLGPU_SM", "90"),)),
)
MEASURES = ("forbidden", "kernels", "trials", "peaks", "compile", "recurring", "too-large")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an entry came to."""

    card: str
    entry: str
    seconds: float = 0.0
    found: Any = None
    error: str | None = None

    @property
    def faults(self) -> list[str]:
        """What is wrong, in words."""
        return [self.error] if self.error else list(self.found or [])


def run(gpu: NullGpu, tree: Path, group: Group, chosen: Sequence[str] = (), cold: bool = False) -> Iterator[Outcome]:
    """Yield the outcome of a group's entries on this tree; the compilers' caches are kept beside the null GPU or not.

    A process that dies takes the entry with it that was under way, which is named.
    """
    with tempfile.TemporaryDirectory() as place:
        folder, lines = Path(place), Path(place) / "lines"
        (folder / "model").symlink_to(tree.resolve() / "model")  # before ours, whose tests run on it
        cache = folder if cold else gpu.folder / "cache"
        caches = {"TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"), "TRITON_CACHE_DIR": str(cache / "triton")}
        environment = gpu.environment(folder, ROOT, **caches, **dict(group.settings))
        command = [str(gpu.python), "-m", "tests.nullgpu.child", group.name, str(lines), *chosen]
        with (gpu.folder / f"{group.name}.log").open("w") as log:
            try:
                ended = subprocess.run(
                    command,
                    cwd=folder,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    timeout=60 * group.minutes,
                    check=False,
                )
                end = f"the process ended with {ended.returncode}"
            except subprocess.TimeoutExpired:
                end = f"not done within {group.minutes} minutes"
        yield from outcomes(lines.read_text() if lines.exists() else "", group.card, f"{end}; see {log.name}")


def outcomes(text: str, card: str, end: str) -> Iterator[Outcome]:
    """Yield what lines of JSON say; an entry that was begun and not ended is an error with this end."""
    begun: str | None = None
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    for line in lines:
        begun = None if "seconds" in line else line["entry"]
        if begun is None:
            yield Outcome(card=card, **line)
    if begun is not None or not lines:
        yield Outcome(card=card, entry=begun or "start", error=end)
