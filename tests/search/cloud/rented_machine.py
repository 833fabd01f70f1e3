"""A rented machine as its set-up finds it: real shells and a real Python; stand-ins for driver, pip and torch."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAMS = {
    "nvidia-smi": '#!/bin/sh\n[ -s PLACE/driver ] && cat PLACE/driver || { echo "NVIDIA-SMI has failed"; exit 9; }\n',
    "python3": """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
cp PLACE/venv-python "$3/bin/python"
""",
    "venv-python": """#!/bin/sh
[ "$1 $2" = "-m pip" ] || PYTHONPATH=PLACE exec INTERPRETER "$@"
echo "$*" >> PLACE/pip
case "$*" in
  *" torch") [ -e PLACE/unreachable ] && exit 1; echo cu126 > PLACE/build ;;
  *) [ -e PLACE/build ] || echo cu130 > PLACE/build
    printf '#!/bin/sh\\necho "$*" >> PLACE/started\\n' > venv/bin/lilm-search
    chmod +x venv/bin/lilm-search ;;
esac
""",
    "g++": "#!/bin/sh\n",
}
TORCH = """
import pathlib
from types import SimpleNamespace
build = pathlib.Path("PLACE/build").read_text().strip()
driver = int(pathlib.Path("PLACE/driver").read_text().partition(".")[0] or 0)
__version__ = f"2.13.0+{build}"
version = SimpleNamespace(cuda={"cu130": "13.0", "cu126": "12.6"}[build])
def zeros(size, device):
    if driver < {"cu130": 580, "cu126": 525}[build]:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\\nPlease update it.")
    if int(device.partition(":")[2]) >= GPUS:
        raise RuntimeError("CUDA error: invalid device ordinal")
    return SimpleNamespace(item=lambda: 0.0)
"""


class RentedMachine:
    """A folder whose programs come first on the PATH, with the bundle in its home."""

    def __init__(self, place: Path, driver: str, gpus: int = 1) -> None:
        self.place = place
        (place / "home" / "lilm-search").mkdir(parents=True)
        (place / "driver").write_text(driver)
        for name, text in PROGRAMS.items():
            (place / name).write_text(text.replace("PLACE", str(place)).replace("INTERPRETER", sys.executable))
            (place / name).chmod(0o755)
        (place / "torch.py").write_text(TORCH.replace("PLACE", str(place)).replace("GPUS", str(gpus)))

    @property
    def env(self) -> dict[str, str]:
        """Return the variables that a program finds there."""
        return {**os.environ, "HOME": str(self.place / "home"), "PATH": f"{self.place}:{os.environ['PATH']}"}

    def run(self, script: str, folder: str = "home/lilm-search") -> "subprocess.CompletedProcess[str]":
        """Run a script there, as a user whose home it is."""
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.place / folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def lines(self, name: str) -> list[str]:
        """Return what the stand-ins noted: `pip`, `started`."""
        file = self.place / name
        return file.read_text().splitlines() if file.exists() else []
