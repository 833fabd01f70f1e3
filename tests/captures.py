"""Pictures of the console in a real terminal, for the docs: python -m tests.captures --study STUDY.

Runs the command in a pseudo-terminal of 80 and of 160 columns and draws the last whole screen as an SVG without a
reference to anything outside it.
"""

import argparse
import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

DOCS = Path(__file__).parent.parent / "docs"
SIZES = {"console-80": (80, 30), "console-160": (160, 26)}
HOME = "\x1b[H"
ELSEWHERE = r"@font-face \{\{.*?\}\}\s*|<!--.*?-->\s*"
SVG = re.sub(ELSEWHERE, "", CONSOLE_SVG_FORMAT, flags=re.S).replace("Fira Code", "ui-monospace")


def record(command: list[str], columns: int, rows: int, frames: int, wait_seconds: float = 120.0) -> list[str]:
    """Return the frames that a command draws over a whole terminal of this size, which is then left by Ctrl-C."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        env.pop(name, None)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    os.close(theirs)
    output, ends = "", time.monotonic() + wait_seconds
    while output.count(HOME) <= frames and time.monotonic() < ends and process.poll() is None:
        output += _read(ours)
    process.send_signal(signal.SIGINT)
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if not (more := _read(ours)) and process.poll() is not None:
            break
        output += more
    os.close(ours)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{output[-2000:]}")
    return output.split(HOME)[1:]


def _read(terminal: int) -> str:
    if not select.select([terminal], [], [], 0.2)[0]:
        return ""
    try:
        return os.read(terminal, 65_536).decode("utf-8", errors="replace")
    except OSError:  # Linux says so that the other side has closed
        return ""


def draw(frame: str, columns: int, title: str) -> str:
    """Return a frame as an SVG, without the empty lines at its end."""
    lines = [Text.from_ansi(line) for line in frame.replace("\r", "").split("\n")]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    screen = Console(width=columns, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        line.rstrip()
        screen.print(line, no_wrap=True, highlight=False)
    return screen.export_svg(title=title, theme=MONOKAI, code_format=SVG, unique_id="console")


def main() -> None:
    """Draw a running study at each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--to", type=Path, default=DOCS)
    asked = parser.parse_args()
    command = [sys.executable, "-m", "search", "status", "--study", asked.study, "--watch"]
    for name, (columns, rows) in SIZES.items():
        frames = record(command, columns, rows, frames=6)
        shown = f"lilm-search status --study {asked.study} --watch"
        (asked.to / f"{name}.svg").write_text(draw(frames[-2], columns, shown), encoding="utf-8")
        print(f"{name}: {len(frames)} frames")


if __name__ == "__main__":
    main()
