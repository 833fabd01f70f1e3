"""NePS as a peer of `tests.benchmarks.search`; run by a Python that has NePS 0.17 installed.

    python peer_neps.py priorband

The method is one of `neps.algorithms` that takes a fidelity; the baseline by hand is its prior. Choices, and numbers in
steps, are told as places in their lists, so that each setting is of one type.
"""

import random
from typing import Any

import neps  # type: ignore[import-not-found]
import numpy as np
import torch
from neps.space import HPOCategorical, HPOFloat, HPOInteger, SearchSpace  # type: ignore[import-not-found]
from peer_loop import WORST, serve  # type: ignore[import-not-found]

FIDELITY, TWENTIETHS = "until", 20
"""Of a long run: every twentieth has a report."""


class Setting:
    """One searched setting, as NePS has it and as the table has it."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.real = "choices" not in entry and isinstance(entry["low"], float)
        if self.real:
            self.values = [entry["low"], entry["high"]]
        else:
            self.values = entry.get("choices") or list(range(entry["low"], entry["high"] + 1, entry.get("step", 1)))
        self.ordered = not any(isinstance(value, str) for value in self.values)
        self.log = bool(entry.get("log"))

    def parameter(self, prior: Any) -> Any:
        """Return NePS's parameter with this prior."""
        confident: dict[str, Any] = {"prior": self.inside(prior), "prior_confidence": "medium"}
        if self.real:
            return HPOFloat(lower=self.values[0], upper=self.values[1], log=self.log, **confident)
        if self.ordered:
            return HPOInteger(lower=0, upper=len(self.values) - 1, **confident)
        return HPOCategorical(choices=self.values, **confident)

    def inside(self, value: Any) -> Any:
        """Return a value as NePS has it."""
        return value if self.real or not self.ordered else self.values.index(value)

    def outside(self, value: Any) -> Any:
        """Return NePS's value as the table has it."""
        return value if self.real or not self.ordered else self.values[int(value)]


class Search:
    """One search, asked and told."""

    def __init__(self, method: str, space: dict[str, Any], baseline: dict[str, Any], seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self.settings = {name: Setting(entry) for name, entry in space.items()}
        elements = {name: setting.parameter(baseline[name]) for name, setting in self.settings.items()}
        elements[FIDELITY] = HPOInteger(lower=1, upper=TWENTIETHS, is_fidelity=True)
        self.neps = neps.AskAndTell(optimizer=getattr(neps.algorithms, method)(SearchSpace(elements)))

    def ask(self) -> dict[str, Any]:
        """Return the run that NePS wants next."""
        trial = self.neps.ask()
        config = dict(trial.config)
        until = int(config.pop(FIDELITY))
        return {
            "id": trial.metadata.id,
            "params": {name: self.settings[name].outside(value) for name, value in config.items()},
            "percent": until * 100 // TWENTIETHS,
            "previous": trial.metadata.previous_trial_id,
        }

    def tell(self, identity: str, params: dict[str, Any], bpb: float | None) -> None:
        """Tell a run's end, as that of the configuration that was trained."""
        config = self.neps.trials[identity].config
        config.update({name: self.settings[name].inside(value) for name, value in params.items()})
        self.neps.tell(identity, WORST if bpb is None else bpb)


if __name__ == "__main__":
    serve(Search)
