"""The command `replay`, which tries pruners on finished runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli.completion import studies as stored
from search.cli.options import MOST_SEED

app = typer.Typer()


@app.command()
def replay(
    files: Annotated[
        list[Path] | None, typer.Argument(help="CSV files, gzipped or not: run_id, progress (0 to 1), loss.")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            help="An Optuna study, ours or another, whose finished trials are replayed.", autocompletion=stored
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar="LILM_SEARCH_STORAGE",
            show_envvar=True,
            help="Where --study is: any URL that Optuna takes, or a journal file; without it, the embedded PostgreSQL.",
        ),
    ] = None,
    studies: Annotated[int, typer.Option(min=1, help="Replayed studies for each pruner, set and setting.")] = 50,
    trials: Annotated[int, typer.Option(min=2, help="Trials if their number is fixed, at most the set's.")] = 100,
    budget: Annotated[
        float | None,
        typer.Option(help="Full runs if the budget is fixed; the default is a quarter of the set's, 25 at most."),
    ] = None,
    pruner: Annotated[
        list[str] | None, typer.Option(metavar="NAME=MODULE:CALL", help="One more pruner; may be repeated.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only pruners with this in their name; may be repeated.")
    ] = None,
    smooth: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Smooth the losses: each is the mean over the reports within this fraction of progress before it.",
        ),
    ] = 0.0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; the default is one per core.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Seed of the first replayed study; each further one has the next.")
    ] = 0,
    html: Annotated[Path | None, typer.Option(help="Draw it too, into this one HTML file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Try pruners on finished runs: what they would have cost, and how often they would have lost the best.

    Of a study, also what the same money would have found under each: its own trials drawn anew, at its own cost.

    Example: lilm-search replay --study quickstart --pruner "mine=optuna.pruners:MedianPruner(n_startup_trials=8)"
    """
    import math
    import sys

    import optuna
    from rich.console import Console

    from model.data.tokenizer import cpu_count
    from search.common.errors import SearchError
    from search.common.out_file import check
    from search.replay.many_studies import replay_all, replay_tasks, tasks_of
    from search.replay.pruners import parse_pruners
    from search.replay.view import as_json, group_results, progress_bar, terminal, write_figure

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sys.path.append(str(Path.cwd()))  # so that a pruner in a file of the current folder is found
    if budget is not None and not 0 < budget < math.inf:
        raise SearchError(f"--budget is {budget:g}, but must be a number of full runs > 0")
    if html:
        check(html, "--html")
    own_pruners = parse_pruners(pruner or [])
    sets, own = _sets(files or [], study, storage, smooth)
    parts = replay_tasks(sets, trials, budget, own_pruners, only or [])
    parts += tasks_of(own[0], own[1], own_pruners, only or []) if own else []
    with progress_bar(Console(stderr=True), len(parts) * studies) as advance:
        results = replay_all(parts, range(seed, seed + studies), jobs or cpu_count(), advance)
    summaries = group_results(parts, results, studies)
    if json:
        typer.echo(as_json(summaries, seed))
    else:
        console = Console()
        console.print(terminal(summaries, console), highlight=False)
    if html:
        write_figure(summaries, html)
        typer.echo(f"figure: {html}", err=json)


def _sets(files: list[Path], study: str | None, storage: str | None, smooth: float) -> tuple[list[Any], Any]:
    """Return the sets of curves, and the named study's own trials with its own cost, if they can be drawn anew."""
    from dataclasses import replace

    from search.common.errors import SearchError
    from search.replay.curves import read_csv
    from search.replay.same_money import same_money
    from search.replay.study_curves import opened_study, study_curves

    if not files and study is None:
        raise SearchError("nothing to replay: name CSV files (run_id, progress, loss), or a study with --study")
    sets = [read_csv(path, smooth) for path in files]
    if study is None:
        return sets, None
    with opened_study(study, storage) as opened:
        own = same_money(opened)
        try:
            return [*sets, study_curves(opened, smooth)], own
        except SearchError as error:
            if own is None:
                raise
            curves, limit = own  # few trials finished, but with the pruned ones there are enough
            return sets, (replace(curves, notes=(str(error), *curves.notes)), limit)
