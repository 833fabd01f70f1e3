"""Training on this machine's device: the self-test, the speed of the reference step, and what share that is."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from model.errors import ModelError
from search.common.errors import SearchError
from search.doctor.database import Opening
from search.doctor.finding import Check, Finding, bad, ok
from search.machine.admission import is_reference_compiled, pinned_hardware
from search.machine.hardware import Hardware, detect_hardware
from search.study.study import load_study
from search.study.study_file import study_name
from storage.errors import StorageError

if TYPE_CHECKING:
    import torch

SECONDS = 300.0
"""Longest that the check may take: on a GPU it compiles a shape, in up to a minute, if it wasn't compiled before."""
CURE = "nvidia-smi -q -d PERFORMANCE,POWER,ECC; with another driver or on another machine, try again"


def checks(opening: Opening, study: str | None, device: Callable[[], "torch.device"]) -> list[Check]:
    """Return the check that trains; it has to run after the others, which would disturb its timing."""
    return [Check(name="self-test", look=lambda: look(opening, study, device), seconds=SECONDS)]


def look(opening: Opening, study: str | None, device: Callable[[], "torch.device"]) -> Iterator[Finding]:
    """Run the self-test and the reference step, as a worker of this study would."""
    from model.training.self_test import self_test

    try:
        chosen = device()
        compiled, pinned = _terms(opening, study, chosen)
        test = self_test(chosen, compiled)
        if not test.passed:
            yield bad("self-test", f"{chosen} failed: {test.trouble}", CURE)
            return
        evaluation = f"evaluations within {test.evaluation_difference:.2%} of float32"
        yield ok(
            "self-test",
            f"{chosen} passed in {test.seconds:.0f} s: {test.mode}, losses within {test.loss_difference:.2%} of eager "
            f"steps, {evaluation}",
        )
        yield ok("speed", speed_line(detect_hardware(chosen, compiled), pinned, chosen))
    except (SearchError, ModelError) as error:
        yield bad("self-test", str(error))


def _terms(opening: Opening, name: str | None, device: "torch.device") -> tuple[bool, Hardware | None]:
    """Return whether the reference step is compiled, and the hardware that the study is pinned to."""
    from model.training.compiling import missing_compiler

    alone = device.type == "cuda" and not missing_compiler(device), None
    if name is None:
        return alone
    try:
        with opening() as database:
            study = load_study(database, study_name(name))
            return is_reference_compiled(study, device), pinned_hardware(study)
    except (SearchError, StorageError, OSError):  # the check of the study says what is wrong with it
        return alone


def speed_line(here: Hardware, pinned: Hardware | None, device: "torch.device") -> str:
    """Return the reference step's throughput, its MFU and its share of the study's, in words."""
    from model.network.device import precision
    from model.network.flops import flops_per_token
    from model.training.peak_flops import peak_flops
    from model.training.reference_step import reference_for

    reference = reference_for(device)
    peak = peak_flops(device, precision(device, width=reference.network.d_model))
    flops = here.reference_tokens_per_second * flops_per_token(reference.network, reference.vocab_size)
    how = "compiled" if here.compiled else "not compiled"
    line = f"{here.label}: reference step {here.speed} ({how}), MFU {flops / peak:.1%}"
    if pinned is None:
        return f"{line}; --study NAME compares it with a study's first worker"
    if (pinned.kind, pinned.name) != (here.kind, here.name):
        return f"{line}; the study's is of another class: {pinned.label}"
    return f"{line}, {here.reference_tokens_per_second / pinned.reference_tokens_per_second:.0%} of the study's"
