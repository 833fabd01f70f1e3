"""Checks are independent, bounded in time, and shown the worst first."""

import io
import threading
from collections.abc import Iterator

from rich.console import Console

from search.doctor.finding import Check, Finding, as_table, bad, examine, note, ok, summary, table


def of(*findings: Finding) -> Check:
    return Check(name=findings[0].name, look=lambda: findings)


def test_one_that_crashes_or_hangs_says_so_and_hides_no_other() -> None:
    never = threading.Event()

    def crashes() -> Iterator[Finding]:
        yield ok("disk", "fine")
        raise KeyError("postgresql://u:s3cret@h/d")

    def hangs() -> Iterator[Finding]:
        never.wait()
        yield ok("gpu", "fine")

    checks = [Check(name="disk", look=crashes), Check(name="gpu", look=hangs, seconds=0.2), of(ok("python", "3"))]
    found = {f.name: f for f in examine(checks)}
    assert [f.name for f in found.values()] == ["gpu", "disk", "python"]
    assert (found["gpu"].state, found["gpu"].found) == ("BAD", "no answer within 0.2 s: something hangs")
    assert found["disk"].found == "this check itself failed: KeyError: 'postgresql://u:***@h/d'"
    never.set()


def test_the_worst_comes_first_else_the_checks_order() -> None:
    found = examine([of(ok("a", "1"), bad("b", "2")), of(note("c", "3"), bad("d", "4"), ok("e", "5"))])
    assert [f.name for f in found] == ["b", "d", "c", "a", "e"]
    assert summary(found) == "2 problems, 1 note: begin with the first."
    assert summary([ok("a", "1")]) == "Nothing here keeps lilm-search from working."
    assert as_table(found)["well"] is False
    assert as_table(found)["findings"][0] == {"state": "BAD", "name": "b", "found": "2", "cure": ""}


def test_a_table_of_80_columns_holds_every_word() -> None:
    found = [bad("connections", "a long finding " * 12, "do this " * 12), ok("x", "[bold] is no markup")]
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(table(found), highlight=False)
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.split().count("finding") == 12
    assert shown.count("do") == 12
    assert "[bold] is no markup" in shown
