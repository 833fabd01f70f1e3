"""What the null GPU saw: its notes, read in the process that runs on it."""

import ctypes
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WORK = ("kernel", "product", "memset", "copy")
"""Kinds of work that a device does; a library's product is one, whatever it launches in truth."""
WRONG = ("forbidden", "outside", "wrong device", "race", "unwritten")
"""Kinds of notes that must never be there."""

MOST_NAMED = 3


class Notes:
    """Counts by kind and name."""

    def __init__(self, text: str) -> None:
        self._counts: dict[str, Counter[str]] = {}
        for line in text.splitlines():
            kind, number, name = line.split("\t", 2)
            self._counts.setdefault(kind, Counter())[name] += int(number)

    def of(self, kind: str) -> Counter[str]:
        """Return the names of a kind with their counts."""
        return self._counts.get(kind, Counter())

    @property
    def wrong(self) -> list[str]:
        """What must never be there, in words."""
        found = [
            f"{n} × {kind}: {_readable(name)}" for kind in WRONG for name, n in self.of(kind).most_common(MOST_NAMED)
        ]
        beyond = [
            f"{kind}: {len(self.of(kind)) - MOST_NAMED} more" for kind in WRONG if len(self.of(kind)) > MOST_NAMED
        ]
        empty = self.of("capture")["empty"]
        return [*found, *beyond, *([f"{empty} × an empty capture"] if empty else [])]

    def work(self) -> Counter[str]:
        """Return all that the device had to do, launched or replayed, by name."""
        return sum((self.of(prefix + kind) for kind in WORK for prefix in ("", "graph ")), Counter[str]())

    @property
    def kernels(self) -> int:
        """Kernels, products, fills and copies on the device; copies from and to the host not among them."""
        work = self.work()
        return work.total() - sum(work[name] for name in ("to the device", "to the host", "host to host"))

    @property
    def products(self) -> int:
        """Matrix products."""
        return self.of("product").total() + self.of("graph product").total()

    @property
    def float32_products(self) -> list[str]:
        """Matrix products in float32."""
        return sorted(name for name in self.work() if name.startswith("sgemm"))

    @property
    def waits(self) -> int:
        """Calls in which the host waited."""
        return self.of("wait").total()


def _readable(name: str) -> str:
    """Return the beginning of a name, C++ functions as they are written."""
    done = subprocess.run(["c++filt", "-p"], input=name, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.strip().replace("at::native::", "")[:80] if done.stdout else name[:80]


_device = ctypes.CDLL("libcuda.so.1")
_device.null_used.restype = ctypes.c_size_t
_device.null_limit.argtypes = [ctypes.c_size_t]
_device.null_kernel_seconds.argtypes = [ctypes.c_double]


def forget() -> None:
    """Begin to note anew."""
    _device.null_forget()


def notes() -> Notes:
    """Return what was noted since `forget`."""
    with tempfile.NamedTemporaryFile() as file:
        if _device.null_write(file.name.encode()):
            raise OSError(f"the null GPU can't write {file.name}")
        return Notes(Path(file.name).read_text())


def used_bytes(device: int = 0) -> int:
    """Return what is allocated on a device, as its driver sees it."""
    return int(_device.null_used(device))


@contextmanager
def limited(gigabytes: float) -> Iterator[None]:
    """Let the device have so little memory for the length of a block."""
    _device.null_limit(int(gigabytes * 2**30))
    try:
        yield
    finally:
        _device.null_limit(0)


@contextmanager
def lagging(seconds: float) -> Iterator[None]:
    """Let each kernel take so long for the length of a block."""
    _device.null_kernel_seconds(seconds)
    try:
        yield
    finally:
        _device.null_kernel_seconds(0.0)
