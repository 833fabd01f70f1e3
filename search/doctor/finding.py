"""Findings, and the running of checks: each in a thread with a time limit; one that crashes or hangs hides no other."""

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
"""Longest time of a check, unless it has its own limit."""

State = Literal["BAD", "note", "ok"]
ORDER: tuple[State, ...] = ("BAD", "note", "ok")
STYLES = {"BAD": "bold red", "note": "yellow", "ok": "green"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check, or of a part of it."""

    state: State
    """BAD: prevents or spoils work; note: may do so; ok: doesn't."""
    name: str
    found: str
    """The finding, as a sentence."""
    cure: str = ""
    """Remedy, as a command if there is one."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check, made by calling `look`."""

    name: str
    look: Callable[[], Iterable[Finding]]
    seconds: float = SECONDS


def examine(checks: Sequence[Check]) -> list[Finding]:
    """Make all checks at once; return their findings, the worst first, else in the order of the checks."""
    running = [(check, _started(check)) for check in checks]
    findings = [finding for check, answer in running for finding in _answered(check, answer)]
    redacted = [replace(f, found=redact(f.found), cure=redact(f.cure)) for f in findings]  # before lines are folded
    return worst_first(redacted)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with what is bad first, else in their order."""
    return sorted(findings, key=lambda finding: ORDER.index(finding.state))


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
        result = answer.get(timeout=check.seconds)
    except queue.Empty:
        return [Finding(state="BAD", name=check.name, found=f"no answer within {check.seconds:g} s: something hangs")]
    if isinstance(result, BaseException):
        message = f"this check itself failed: {type(result).__name__}: {first_line(result)}"
        return [Finding(state="note", name=check.name, found=message)]
    return result


def table(findings: Sequence[Finding]) -> Table:
    """Return the findings as a table for people, each with its cure below."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=4)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in findings:
        lines = Text(finding.found)
        if finding.cure:
            lines.append(f"\n→ {finding.cure}", style="" if finding.state == "ok" else "bold")
        grid.add_row(Text(finding.state, style=STYLES[finding.state]), finding.name, lines)
    return grid


def summary(findings: Sequence[Finding]) -> str:
    """Return a line with the number of problems and notes."""
    bad, notes = (sum(f.state == state for f in findings) for state in ("BAD", "note"))
    noted = f"{notes} note{'s' * (notes != 1)}" if notes else ""
    if bad:
        return f"{bad} problem{'s' * (bad != 1)}{f', {noted}' if noted else ''}: begin with the first."
    return f"Nothing here keeps lilm-search from working{f' ({noted})' if noted else ''}."


def as_table(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as a plain table for JSON."""
    return {"well": all(f.state != "BAD" for f in findings), "findings": [asdict(f) for f in findings]}


def ok(name: str, found: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(state="ok", name=name, found=found)


def note(name: str, found: str, cure: str = "") -> Finding:
    """Return a finding that may matter."""
    return Finding(state="note", name=name, found=found, cure=cure)


def bad(name: str, found: str, cure: str = "") -> Finding:
    """Return a finding that prevents or spoils work."""
    return Finding(state="BAD", name=name, found=found, cure=cure)
