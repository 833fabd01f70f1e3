"""A trained model measured again, by its study's protocol, and compared with the BPB that its file states."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.config import DataConfig
from model.data.corpus import validation
from model.errors import SettingsError
from model.evaluate import val_bpb
from model.formats.checkpoint import Checkpoint
from model.formats.load import load
from model.network.device import on_device, precision
from search.common import paths
from search.common.errors import SearchError
from search.common.safe_text import plain_line
from search.export.merged import merge_of
from search.export.reader import read_export
from search.machine.hardware import device_name
from search.machine.preparation import Progress
from search.retrain.held_out import divide
from search.retrain.train import data_from
from search.retrain.verify import Verification, hash_mismatch

MEASURED_IN = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float8": torch.bfloat16}
"""Precision of a run's evaluations, by that of its training."""
DEVICE_TOLERANCE = 1e-4
"""BPB by which the same weights may differ between devices on the same text. Measured on a CPU: 2e-6 between kernels in
bfloat16, 3e-11 between thread counts in float32, 2e-5 between the two precisions; runs with different seeds differ by
5e-4 or more."""


@dataclass(frozen=True, kw_only=True)
class StatedResult:
    """The result that a model's file states."""

    val_bpb: float | None
    """BPB of these weights; None if the file states none."""
    data: DataConfig
    """The text, and which part of it is held out."""
    text_sha256: str | None
    """Hash of that text."""
    precision: torch.dtype | None
    """Precision in which the BPB was measured."""
    label: str
    """Study, configuration, run and device, for the user."""
    untouched: bool = False
    """Whether the BPB is that of the part of the text that no choice has seen, as a merge's is."""


def stated_result(trained: Checkpoint, config: Path | None, rank: int | None) -> StatedResult:
    """Return the result that a model's file states; what it doesn't say of its text is taken from an export."""
    if rank is not None and config is None:
        raise SearchError("--rank is one of an export's configurations: name its file with --config, too")
    info = trained.info
    export: Mapping[str, Any] = read_export(config, rank).table if config else {}
    if not info.get("data") and not export:
        raise SearchError(
            "the model doesn't say which text it was measured on; name its export with --config (`lilm-search export`)"
        )
    provenance = {**_provenance(export), **_provenance(info)}
    try:
        data = DataConfig.parse(info.get("data") or export["data"], "data")
    except SettingsError as error:
        raise SearchError(f"the model's text is not known: {error}") from None
    parts = [info.get("study"), info.get("configuration")]
    parts += [f"{key} {info[key]}" for key in ("confirmation", "seed") if key in info]
    parts += [provenance.get("precision"), provenance.get("device")]
    sha256 = provenance.get("text_sha256")
    return StatedResult(
        val_bpb=stated_bpb(info),
        data=data,
        text_sha256=None if sha256 is None else str(sha256),
        precision=MEASURED_IN.get(str(provenance.get("precision"))),
        label=plain_line(", ".join(str(part) for part in parts if part)),
        untouched=merge_of(info) is not None,
    )


def stated_bpb(info: Mapping[str, Any]) -> float | None:
    """Return the BPB that a model's file states, or None; raises `SearchError` if it is no number."""
    bpb = info.get("val_bpb")
    if bpb is not None and (type(bpb) not in (int, float) or not math.isfinite(bpb)):
        raise SearchError(f"the model's `val_bpb` is {bpb!r:.40}, but must be a number")
    return bpb


def _provenance(table: Mapping[str, Any]) -> Mapping[str, Any]:
    provenance = table.get("provenance", {})
    if not isinstance(provenance, Mapping):
        raise SearchError(f"the model's `provenance` is {provenance!r:.40}, but must be a table")
    return provenance


def measure(
    path: Path,
    *,
    config: Path | None,
    rank: int | None,
    data: str | None,
    tolerance: float | None,
    device: torch.device,
    progress: Progress,
    say: Callable[[str], None],
) -> Verification:
    """Measure a model on all of its validation text; print and return whether that is the BPB it states.

    A merge is measured on the part of it that it was not chosen on.
    """
    trained = load(path, device)
    stated = stated_result(trained, config, rank)
    text = data_from(stated.data, data)
    tokens, sha256 = validation(text, trained.tokenizer, paths.cache(), progress)
    if stated.untouched:
        tokens = divide(tokens, trained.tokenizer)[1]
    dtype = stated.precision or precision(device, width=trained.network.config.d_model)
    with on_device(device):
        bpb = val_bpb(trained.network, tokens, trained.tokenizer.separator, dtype=dtype)
    verification = judge(stated, bpb, sha256, tolerance)
    claim = f"{stated.val_bpb:.4f} BPB: {stated.label}" if stated.val_bpb is not None else "nothing"
    same = "the same (sha-256)" if stated.text_sha256 == sha256 else "another" if stated.text_sha256 else "not known"
    say(f"claimed:  {claim}")
    part = ", the part that no choice has seen" if stated.untouched else ""
    say(f"text:     {same}, {int(tokens.text_bytes.sum()):,} bytes of validation{part}")
    seen = ", within documents" if trained.network.config.document_mask else ""
    say(f"here:     {bpb:.4f} BPB in {_name(dtype)} on {device_name(device)}{seen}")
    say(f"verdict:  {verification.answer}: {verification.why}")
    return verification


def judge(stated: StatedResult, bpb: float, text_sha256: str, tolerance: float | None) -> Verification:
    """Return whether the measured BPB is the stated one: yes, no or can't tell, and why."""
    if stated.val_bpb is None:
        return Verification("can't tell", "the model claims no BPB")
    if stated.text_sha256 is None:
        return Verification("can't tell", "the model doesn't say which text its claim is of; --config names its export")
    if stated.text_sha256 != text_sha256:
        return Verification("can't tell", hash_mismatch("text", "model", stated.text_sha256, text_sha256))
    difference, tolerated = abs(bpb - stated.val_bpb), DEVICE_TOLERANCE if tolerance is None else tolerance
    reason = "what devices may differ by" if tolerance is None else "the tolerance given"
    if difference <= tolerated:
        return Verification("yes", f"off by {difference:.1e} BPB, within {tolerated:g}, {reason}")
    return Verification("no", f"off by {difference:.1e} BPB, over {tolerated:g}, {reason}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
