"""What merges are made of: the stored weights of a study's confirmation runs, and of their last states."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from model.formats import checkpoint
from model.formats.checkpoint import Checkpoint
from model.network.averages import why_not_averaged
from search.analysis.snapshot import Snapshot
from search.common import paths
from search.common.errors import SearchError
from search.export.bundle import CPU, run_weights, stored_file
from search.export.export import confirmed_configurations
from search.export.runs import check_number
from search.study.artifacts import AT_PERCENT, artifact_files, state_file
from search.study.study import LinkedStudy
from search.study.trials import attributes_of, configuration_key, finished, label

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ingredient:
    """Weights that a merge may use: a run's final ones, or those of one of its last states."""

    run: FrozenTrial
    percent: int
    """Progress that they are of; 100: the final ones."""
    configuration: str
    """Label of the run's configuration."""
    trained: Checkpoint

    @property
    def seed(self) -> int | None:
        """Seed of the run."""
        return attributes_of(self.run).seed

    @property
    def label(self) -> str:
        """Run, seed and progress, for people."""
        seed = f", seed {self.seed}" if self.seed is not None else ""
        return f"confirmation {self.run.number}{seed}" + (f", at {self.percent}%" if self.percent < 100 else "")

    def table(self, weights: Sequence[float]) -> dict[str, Any]:
        """Return what a merge's file says of the ingredient, with its weight in each group of blocks."""
        at = {AT_PERCENT: self.percent} if self.percent < 100 else {}
        named = {"label": self.label, "configuration": self.configuration, "confirmation": self.run.number}
        seed = {"seed": self.seed} if self.seed is not None else {}
        return {**named, **seed, **at, "weights": [round(w, 12) for w in weights]}


def chosen_runs(snapshot: Snapshot, configuration: str | None, numbers: Sequence[int]) -> list[FrozenTrial]:
    """Return the runs to merge: those numbered, or those of a configuration, by default of the best one.

    Raises `SearchError` for a run or a configuration that isn't there, or has not trained to the end.
    """
    if configuration is not None and numbers:
        raise SearchError("--configuration and --confirmation both say what is merged: leave one of them out")
    for number in numbers:
        check_number("--confirmation", number, snapshot.runs)
    if numbers:
        done = {run.number: run for run in finished(list(snapshot.runs))}
        if missing := [number for number in numbers if number not in done]:
            raise SearchError(f"confirmation {missing[0]} has not trained to its end: it has no weights to merge")
        return [done[number] for number in dict.fromkeys(numbers)]
    entries = confirmed_configurations(snapshot)
    labels = [entry.label for entry in entries]
    if configuration is None:
        return sorted(entries[0].runs, key=lambda run: run.number)
    if configuration not in labels:
        raise SearchError(
            f'--configuration is "{configuration}", but must be one of the confirmed: {", ".join(labels)}'
        )
    return sorted(entries[labels.index(configuration)].runs, key=lambda run: run.number)


def load_ingredients(study: LinkedStudy, runs: Sequence[FrozenTrial], scratch: Path, say: Say) -> list[Ingredient]:
    """Return the weights of these runs that are stored, with their last states, in order of run and progress.

    Raises `SearchError` if there are fewer than two, or if they can't be averaged.
    """
    ingredients: list[Ingredient] = []
    for run in runs:
        final = run_weights(study, run, scratch, say)
        if final is None:
            continue
        name = label(*configuration_key(run))
        for percent, trained in _last_states(study, run, scratch):
            ingredients.append(Ingredient(run, percent, name, trained))
        ingredients.append(Ingredient(run, 100, name, final))
    if len(ingredients) < 2:
        raise SearchError(
            f"there is nothing to merge: of these {len(runs)} runs, {len(ingredients)} has weights that are stored. "
            "Merge several runs (--confirmation, once for each; `race` lists them), or have each run keep its last "
            "states with last_states in [confirm]"
        )
    _check_alike(ingredients)
    return ingredients


def _last_states(study: LinkedStudy, run: FrozenTrial, scratch: Path) -> list[tuple[int, Checkpoint]]:
    """Return the run's stored states before its end, with their progress in percent."""
    names = {file.filename for file in artifact_files(study.confirmations) if file.trial == run.number}
    folder = paths.checkpoints(study.runs_folder)
    names |= {path.name for path in folder.glob(state_file(run.number, "*"))}
    pattern = re.compile(state_file(run.number, r"(\d\d?)"))
    percents = sorted(int(match[1]) for name in names if (match := pattern.fullmatch(name)))
    states = []
    for percent in percents:
        if path := stored_file(study, run, state_file(run.number, percent), scratch):
            trained = checkpoint.load(path, CPU)
            if (trained.info.get("confirmation"), trained.info.get(AT_PERCENT)) != (run.number, percent):
                raise SearchError(f"{path.name} is not of confirmation {run.number} at {percent}%; see `artifacts`")
            states.append((percent, trained))
    return states


def _check_alike(ingredients: Sequence[Ingredient]) -> None:
    """Raise `SearchError` if weights have no average: of few levels, or of networks or tokenizers that differ."""
    first = ingredients[0]
    if why := why_not_averaged(first.trained.network):
        raise SearchError(f"{first.label} can't be merged: {why}")
    for other in ingredients[1:]:
        one, two = (i.trained.network.config.table() for i in (first, other))
        differing = [f"{key} is {one[key]} and {two[key]}" for key in one if one[key] != two[key]]
        if first.trained.tokenizer.sha256 != other.trained.tokenizer.sha256:
            differing.append("their tokenizers are not the same")
        if differing:
            raise SearchError(
                f"{first.label} and {other.label} can't be merged: {'; '.join(differing[:3])}. Runs of one network "
                "and tokenizer can; their learning rates and seeds may differ"
            )
