"""A trained model measured again, by the protocol of its study, beside the BPB that it claims."""

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
from search.export.reader import read_export
from search.machine.hardware import device_name
from search.machine.preparation import Progress
from search.retrain.train import read_from
from search.retrain.verify import Verdict, another

DEVICES_DIFFER = 1e-4
"""BPB by which the same weights may differ on the same text. Measured on a CPU: 2e-6 between kernels in bfloat16, 3e-11
between thread counts in float32, 2e-5 between the two precisions; a run's noise is from 5e-4 on."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a model says of itself."""

    val_bpb: float | None
    """Of these weights."""
    data: DataConfig
    """The text, and what of it is held out."""
    text_sha256: str | None
    """Of that text."""
    precision: torch.dtype | None
    """That it was measured in."""
    label: str
    """Whose weights they are, and what they were trained on."""


def read_claim(trained: Checkpoint, config: Path | None, rank: int | None) -> Claim:
    """Return what a model claims; what it doesn't say of its text is taken from an export."""
    if rank is not None and config is None:
        raise SearchError("--rank is one of an export's configurations: name its file with --config, too")
    info = trained.info
    told: Mapping[str, Any] = read_export(config, rank).table if config else {}
    if not info.get("data") and not told:
        raise SearchError(
            "the model doesn't say which text it was measured on; name its export with --config (`lilm-search export`)"
        )
    known = {**_known(told), **_known(info)}
    try:
        data = DataConfig.parse(info.get("data") or told["data"], "data")
    except SettingsError as error:
        raise SearchError(f"the model's text is not known: {error}") from None
    parts = [info.get("study"), info.get("configuration")]
    parts += [f"{key} {info[key]}" for key in ("confirmation", "seed") if key in info]
    parts += [known.get("precision"), known.get("device")]
    sha256 = known.get("text_sha256")
    return Claim(
        val_bpb=bpb_of(info),
        data=data,
        text_sha256=None if sha256 is None else str(sha256),
        precision={"float32": torch.float32, "bfloat16": torch.bfloat16}.get(str(known.get("precision"))),
        label=plain_line(", ".join(str(part) for part in parts if part)),
    )


def bpb_of(info: Mapping[str, Any]) -> float | None:
    """Return the BPB that a model claims, if it claims any; raises `SearchError` for one that is no number."""
    bpb = info.get("val_bpb")
    if bpb is not None and (type(bpb) not in (int, float) or not math.isfinite(bpb)):
        raise SearchError(f"the model's `val_bpb` is {bpb!r:.40}, but must be a number")
    return bpb


def _known(told: Mapping[str, Any]) -> Mapping[str, Any]:
    known = told.get("provenance", {})
    if not isinstance(known, Mapping):
        raise SearchError(f"the model's `provenance` is {known!r:.40}, but must be a table")
    return known


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
) -> Verdict:
    """Measure a model on all of its validation text and say whether that is the BPB it claims."""
    trained = load(path, device)
    claim = read_claim(trained, config, rank)
    text = read_from(claim.data, data)
    tokens, sha256 = validation(text, trained.tokenizer, paths.cache(), progress)
    dtype = claim.precision or precision(device, width=trained.network.config.d_model)
    with on_device(device):
        bpb = val_bpb(trained.network, tokens, trained.tokenizer.separator, dtype=dtype)
    found = judge(claim, bpb, sha256, tolerance)
    told = f"{claim.val_bpb:.4f} BPB: {claim.label}" if claim.val_bpb is not None else "nothing"
    same = "the same (sha-256)" if claim.text_sha256 == sha256 else "another" if claim.text_sha256 else "not known"
    say(f"claimed:  {told}")
    say(f"text:     {same}, {int(tokens.text_bytes.sum()):,} bytes of validation")
    say(f"here:     {bpb:.4f} BPB in {_name(dtype)} on {device_name(device)}")
    say(f"verdict:  {found.answer}: {found.why}")
    return found


def judge(claim: Claim, bpb: float, text_sha256: str, tolerance: float | None) -> Verdict:
    """Return whether what was measured is what is claimed: yes, no, or can't tell; and why."""
    if claim.val_bpb is None:
        return Verdict("can't tell", "the model claims no BPB")
    if claim.text_sha256 is None:
        return Verdict("can't tell", "the model doesn't say which text its claim is of; --config names its export")
    if claim.text_sha256 != text_sha256:
        return Verdict("can't tell", another("text", "model", claim.text_sha256, text_sha256))
    off, most = abs(bpb - claim.val_bpb), DEVICES_DIFFER if tolerance is None else tolerance
    allowed = "what devices may differ by" if tolerance is None else "the tolerance given"
    if off <= most:
        return Verdict("yes", f"off by {off:.1e} BPB, within {most:g}, {allowed}")
    return Verdict("no", f"off by {off:.1e} BPB, over {most:g}, {allowed}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
