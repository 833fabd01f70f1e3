"""Merging: averages of a study's trained runs, chosen on one half of the validation text, measured on the other.

Averages of equal weights, a greedy soup and evolved weights are compared on the documents that are chosen on; only once
that is over are the others read. Whether the average is better than the best run alone is said of those, with an
interval. A merge is a model, and no result of the study: it had several runs' time, so that it is kept apart from them.
"""

import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from model.data.corpus import validation
from model.data.tokens import Tokens
from model.evaluate import document_nats, val_bpb
from model.formats import checkpoint
from model.formats.checkpoint import Checkpoint
from model.network.averages import average_into
from model.network.device import on_device, precision
from model.network.transformer import Transformer
from search.analysis.snapshot import Snapshot
from search.common import out_file, paths
from search.common.errors import SearchError
from search.export.merged import MERGE
from search.machine.preparation import Progress
from search.machine.provenance import provenance, without_host
from search.retrain.held_out import SPLIT, Difference, difference, divide
from search.retrain.ingredients import Ingredient, Say, chosen_runs, load_ingredients
from search.retrain.mixing import (
    HOW_TO_EVOLVE,
    Measure,
    Mix,
    Weights,
    average_of,
    can_evolve,
    equal_weights,
    evolved,
    greedy_soup,
)
from search.retrain.train import data_from
from search.retrain.verify import hash_mismatch
from search.study.study import LinkedStudy

METHODS = ("best", "average", "greedy", "evolved")
"""Which average is written: the best of all on the text that is chosen on, or that of one method."""


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    """What the user asks for."""

    configuration: str | None = None
    """Label of the configuration whose runs are merged; None: the best one's."""
    confirmations: Sequence[int] = ()
    """Numbers of the runs that are merged, instead."""
    method: str = "best"
    groups: int = 1
    """Groups of consecutive blocks that evolved weights are found for."""
    trials: int = 60
    """Mixes that evolution measures."""
    choose_bytes: int = 1_000_000
    """Bytes of text, at least, that mixes are measured on while choosing, in whole documents evenly spread."""
    seed: int = 0
    """Seed of the evolution."""
    data: str | None = None
    """Place of the study's text, if it isn't where the study says."""


@dataclass(frozen=True)
class Choice:
    """What was measured on the text that is chosen on."""

    singles: Sequence[Mix]
    """Each ingredient alone."""
    averages: Sequence[tuple[str, Mix]]
    """Averages, each with its method."""

    @property
    def before(self) -> Mix:
        """The best ingredient alone, which an average has to beat."""
        return min(self.singles, key=lambda mix: mix.bpb)

    def wanted(self, method: str) -> Mix | None:
        """Return the average to write; None if that is a single ingredient, or if none is better than the best one."""
        best = min((mix for of, mix in self.averages if method in ("best", of)), key=lambda mix: mix.bpb)
        if method == "best" and not best.bpb < self.before.bpb:
            return None
        return best if (best.weights.max(axis=1) < 1).any() else None


def merge(
    snapshot: Snapshot, options: MergeOptions, out: Path, device: torch.device, progress: Progress, say: Say
) -> bool:
    """Merge a study's runs and write the average to `out`; return whether there was one to write.

    Raises `SearchError` if the options don't fit the study, or its runs can't be averaged.
    """
    _check(options)
    out_file.check(out)
    study = snapshot.study
    with tempfile.TemporaryDirectory(prefix="lilm-search-") as scratch:
        runs = chosen_runs(snapshot, options.configuration, options.confirmations)
        ingredients = load_ingredients(study, runs, Path(scratch), say)
    n_layer = ingredients[0].trained.network.config.n_layer
    if options.groups > n_layer:
        raise SearchError(f"--groups is {options.groups}, but the network has {n_layer} blocks: at most one for each")
    to_choose_on, untouched, text_sha256 = _texts(study, ingredients, options, progress)
    say(f"ingredients: {len(ingredients)}, of {len({i.run.number for i in ingredients})} runs")
    say(f"text: {_amount(to_choose_on)} to choose on, {_amount(untouched)} untouched, divided {SPLIT}")
    with on_device(device):
        mixer = Mixer([i.trained for i in ingredients], device)
        choice = choose(ingredients, mixer.measure_on(to_choose_on.subset(options.choose_bytes)), options, say)
        figures = Figures.measured(mixer, choice, untouched)
        for line in figures.lines():
            say(line)
        wanted = choice.wanted(options.method)
        say(f"verdict: {figures.verdict(wanted)}")
        if wanted is None:
            return False
        info = _info(study, ingredients, figures, wanted, options)
        info["provenance"] = without_host(provenance(device, str(mixer.dtype).removeprefix("torch.")))
        info["provenance"] |= {"text_sha256": text_sha256, **_shared(ingredients)}
        checkpoint.save(out, mixer.mixed(wanted.weights), ingredients[0].trained.tokenizer, info)
    say(f"written: {out}; `lilm-search evaluate --checkpoint {out}` measures its untouched part again")
    return True


def _check(options: MergeOptions) -> None:
    """Raise `SearchError` for a method that isn't there."""
    if options.method not in METHODS:
        raise SearchError(f'--method is "{options.method}", but must be one of {", ".join(METHODS)}')
    if options.method == "evolved" and not can_evolve():
        raise SearchError(HOW_TO_EVOLVE)


def _texts(
    study: LinkedStudy, ingredients: Sequence[Ingredient], options: MergeOptions, progress: Progress
) -> tuple[Tokens, Tokens, str]:
    """Return the text to choose on, the untouched one, and the hash of all text; it must be the ingredients' own."""
    tokenizer = ingredients[0].trained.tokenizer
    tokens, sha256 = validation(data_from(study.plan.data, options.data), tokenizer, paths.cache(), progress)
    for ingredient in ingredients:
        there = ingredient.trained.info.get("provenance", {}).get("text_sha256", sha256)
        if there != sha256:
            raise SearchError(hash_mismatch("text", "study", str(there), sha256))
    return *divide(tokens, tokenizer), sha256


def _amount(tokens: Tokens) -> str:
    return f"{len(tokens.text_bytes):,} documents of {int(tokens.text_bytes.sum()):,} bytes"


class Mixer:
    """Makes averages of the ingredients in one network, and measures them.

    Args:
        trained: the ingredients, which stay as they are.
        device: where averages are made and measured.

    """

    def __init__(self, trained: Sequence[Checkpoint], device: torch.device) -> None:
        self._networks = [each.network.to(device) for each in trained]
        self._network = deepcopy(self._networks[0])
        self._separator = trained[0].tokenizer.separator
        self.dtype = precision(device, width=self._network.config.d_model)

    def mixed(self, weights: Weights) -> Transformer:
        """Return the average with these weights; the next call changes it."""
        average_into(self._network, self._networks, weights)
        return self._network

    def measure_on(self, tokens: Tokens) -> Measure:
        """Return a function that measures the BPB of mixes on this text, each once."""
        known: dict[bytes, float] = {}

        def measure(weights: Weights) -> float:
            key = weights.tobytes()
            if key not in known:
                known[key] = val_bpb(self.mixed(weights), tokens, self._separator, dtype=self.dtype)
            return known[key]

        return measure

    def nats(self, weights: Weights, tokens: Tokens) -> Float[ndarray, " n"]:
        """Return a mix's nats of each document."""
        return document_nats(self.mixed(weights), tokens, self._separator, dtype=self.dtype)


def choose(ingredients: Sequence[Ingredient], measure: Measure, options: MergeOptions, say: Say) -> Choice:
    """Measure each ingredient alone and every average; `measure` knows the text to choose on, and no other."""
    n, groups = len(ingredients), options.groups
    alone = [equal_weights([i], n, groups) for i in range(n)]
    singles = [Mix(i.label, w, measure(w)) for i, w in zip(ingredients, alone, strict=True)]
    sets = average_sets(ingredients)
    averages = [("average", average_of(name, members, n, groups, measure)) for name, members in sets.items()]
    averages.append(("greedy", greedy_soup(singles, measure)))
    if can_evolve():
        several = [mix for _, mix in averages if np.count_nonzero(mix.weights[0]) > 1]
        start, average = (min(mixes, key=lambda mix: mix.bpb) for mixes in ([*singles, *several], several))
        averages.append(("evolved", evolved(start, average.weights, measure, options.trials, options.seed)))
    else:
        say(f"note: {HOW_TO_EVOLVE}")
    return Choice(singles, averages)


def average_sets(ingredients: Sequence[Ingredient]) -> dict[str, list[int]]:
    """Return the sets that are averaged with equal weights: all runs' ends, and each run's last states, by name."""
    ends = [i for i, each in enumerate(ingredients) if each.percent == 100]
    sets = {f"average of {len(ends)} runs": ends} if len(ends) > 1 else {}
    for number in dict.fromkeys(each.run.number for each in ingredients):
        states = [i for i, each in enumerate(ingredients) if each.run.number == number]
        if len(states) > 1:
            sets[f"average of confirmation {number}'s last {len(states)} states"] = states
    return sets


@dataclass(frozen=True)
class Figures:
    """What all were measured to be on the untouched text, once nothing was left to choose."""

    choice: Choice
    nats: dict[bytes, Float[ndarray, " n"]]
    """Nats of each document, by weights."""
    text: Tokens

    @classmethod
    def measured(cls, mixer: Mixer, choice: Choice, text: Tokens) -> "Figures":
        """Measure every ingredient and every average on this text."""
        mixes = {mix.weights.tobytes(): mix for mix in (*choice.singles, *(mix for _, mix in choice.averages))}
        return cls(choice, {key: mixer.nats(mix.weights, text) for key, mix in mixes.items()}, text)

    def bpb(self, mix: Mix) -> float:
        """Return a mix's BPB on the untouched text."""
        nats = self.nats[mix.weights.tobytes()]
        return float(nats.sum() / (np.log(2) * self.text.text_bytes.sum()))

    def difference(self, mix: Mix) -> Difference:
        """Return how a mix differs from the best ingredient alone."""
        before = self.nats[self.choice.before.weights.tobytes()]
        return difference(before, self.nats[mix.weights.tobytes()], self.text.text_bytes)

    def lines(self) -> list[str]:
        """Return a table: each ingredient and average, on the text that was chosen on and on the untouched one."""
        mixes = [*self.choice.singles, *(mix for _, mix in self.choice.averages)]
        width = max(len(mix.name) for mix in mixes)
        lines = [f"{'':<{width}}  chosen on  untouched  difference ± 95%"]
        for mix in mixes:
            alike = np.array_equal(mix.weights, self.choice.before.weights)
            against = "the best alone" if alike else self.difference(mix).text
            lines.append(f"{mix.name:<{width}}  {mix.bpb:9.4f}  {self.bpb(mix):9.4f}  {against}")
        return lines

    def verdict(self, wanted: Mix | None) -> str:
        """Return in a sentence whether an average helps."""
        best = self.choice.before.name
        if wanted is None:
            return (
                f"doesn't help: on the text to choose on no wanted average is better than {best}, alone; nothing is "
                "written, and `export` gives the study's best run"
            )
        change = self.difference(wanted)
        beyond = f"{wanted.name} against {best}, alone: {change.text} BPB on the untouched text"
        if change.sign:
            return f"{'helps' if change.sign < 0 else 'hurts'}: {beyond}"
        return f"can't tell whether it helps: {beyond}"


def _info(
    study: LinkedStudy, ingredients: Sequence[Ingredient], figures: Figures, mix: Mix, options: MergeOptions
) -> dict[str, Any]:
    """Return what the merge's file says: its BPB on the untouched text, and what it was made of, and how."""
    change, before = figures.difference(mix), figures.choice.before
    columns = zip(ingredients, mix.weights.T.tolist(), strict=True)
    parts = [ingredient.table(weights) for ingredient, weights in columns if any(weights)]
    half = {} if change.half_width is None else {"half_width_95": change.half_width}
    table = {
        "method": mix.name,
        "groups": options.groups,
        "ingredients": parts,
        "divided": SPLIT,
        "documents": len(figures.text.text_bytes),
        "bytes": int(figures.text.text_bytes.sum()),
        "before": before.name,
        "before_bpb": figures.bpb(before),
        "difference": change.bpb,
        **half,
    }
    name = f"merge of {len(parts)}"
    data = study.plan.data.table()
    return {"study": study.plan.name, "configuration": name, "val_bpb": figures.bpb(mix), "data": data, MERGE: table}


def _shared(ingredients: Sequence[Ingredient]) -> dict[str, str]:
    """Return what all ingredients' provenance says of tokenizer and evaluation."""
    stated = ingredients[0].trained.info.get("provenance", {})
    return {key: str(stated[key]) for key in ("tokenizer_sha256", "evaluation") if key in stated}
