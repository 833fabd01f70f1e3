"""Progress bars for the preparation of text."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
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
