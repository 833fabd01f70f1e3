"""A finding, and how checks are run: each by itself, bounded in time; one that crashes or hangs hides no other."""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from storage.errors import first_line
from storage.redaction import redact

SECONDS = 30.0
"""That a check may take, unless it says otherwise."""

State = Literal["BAD", "note", "ok"]
ORDER: tuple[State, ...] = ("BAD", "note", "ok")
STYLES = {"BAD": "bold red", "note": "yellow", "ok": "green"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    state: State
    """BAD keeps work from being done, or spoils it; a note may; ok doesn't."""
    name: str
    found: str
    cure: str = ""
    """What to do, as a command where there is one."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A question, asked by calling `look`."""

    name: str
    look: Callable[[], Iterable[Finding]]
    seconds: float = SECONDS


def examine(checks: Sequence[Check]) -> list[Finding]:
    """Ask all at once and return what was found, the worst first, else in the order of the checks."""
    running = [(check, _started(check)) for check in checks]
    found = [finding for check, answer in running for finding in _answered(check, answer)]
    hidden = [replace(f, found=redact(f.found), cure=redact(f.cure)) for f in found]  # before lines are folded
    return sorted(hidden, key=lambda finding: ORDER.index(finding.state))


def _started(check: Check) -> "queue.Queue[list[Finding] | BaseException]":
    answer = queue.Queue[list[Finding] | BaseException]()

    def look() -> None:
        try:
            answer.put(list(check.look()))
        except BaseException as error:
            answer.put(error)

    threading.Thread(target=look, name=f"doctor: {check.name}", daemon=True).start()
    return answer


def _answered(check: Check, answer: "queue.Queue[list[Finding] | BaseException]") -> list[Finding]:
    try:
        found = answer.get(timeout=check.seconds)
    except queue.Empty:
        return [Finding(state="BAD", name=check.name, found=f"no answer within {check.seconds:g} s: something hangs")]
    if isinstance(found, BaseException):
        said = f"this check itself failed: {type(found).__name__}: {first_line(found)}"
        return [Finding(state="note", name=check.name, found=said)]
    return found


def table(findings: Sequence[Finding]) -> Table:
    """Return the findings for people, a cure under what it cures."""
    shown = Table.grid(padding=(0, 1))
    shown.add_column(width=4)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for finding in findings:
        lines = Text(finding.found)
        if finding.cure:
            lines.append(f"\n→ {finding.cure}", style="" if finding.state == "ok" else "bold")
        shown.add_row(Text(finding.state, style=STYLES[finding.state]), finding.name, lines)
    return shown


def summary(findings: Sequence[Finding]) -> str:
    """Return what it comes to, in a line."""
    bad, notes = (sum(f.state == state for f in findings) for state in ("BAD", "note"))
    noted = f"{notes} note{'s' * (notes != 1)}" if notes else ""
    if bad:
        return f"{bad} problem{'s' * (bad != 1)}{f', {noted}' if noted else ''}: begin with the first."
    return f"Nothing here keeps lilm-search from working{f' ({noted})' if noted else ''}."


def as_table(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings for machines."""
    return {"well": all(f.state != "BAD" for f in findings), "findings": [asdict(f) for f in findings]}


def ok(name: str, found: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(state="ok", name=name, found=found)


def note(name: str, found: str, cure: str = "") -> Finding:
    """Return a finding that may matter."""
    return Finding(state="note", name=name, found=found, cure=cure)


def bad(name: str, found: str, cure: str = "") -> Finding:
    """Return a finding that keeps work from being done, or spoils it."""
    return Finding(state="BAD", name=name, found=found, cure=cure)
