"""Progress bars for the preparation of text, and for what is counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from search.machine.preparation import Progress as OnProgress


@contextmanager
def preparation_bars(console: Console) -> Iterator[OnProgress]:
    """Show the preparation of text: a bar for each stage in a terminal, otherwise a line for each."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(30),
        TextColumn("{task.fields[amount]}"),
    )
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                if not console.is_terminal:
                    console.print(f"preparing: {stage}", highlight=False)
                tasks[stage] = bars.add_task(stage, total=total, amount="")
            amount = f"{done / 1e6:.1f} MB" if done else ""
            bars.update(tasks[stage], completed=done, total=total, amount=amount)

        yield show


@contextmanager
def counting_bars(console: Console) -> Iterator[OnProgress]:
    """Show stages that are counted: a bar for each in a terminal, otherwise a line at each tenth."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        tasks: dict[str, Any] = {}
        tenths: dict[str, int] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            tenth = 10 * done // total if total else 0
            if not console.is_terminal and tenths.get(stage) != tenth:
                amount = f": {done:,} of {total:,}" if total else ""
                console.print(f"{stage}{amount}", highlight=False)
            tenths[stage] = tenth
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
