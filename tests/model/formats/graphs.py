"""ONNX graphs in tests: made where torch's exporter is installed."""

from collections.abc import Iterator
from contextlib import contextmanager

import jaxtyping
import pytest

from model.formats.onnx_file import PACKAGES, OnnxStep, onnx_step
from model.network.transformer import Transformer


def exporter_or_skip() -> None:
    """Skip the test where torch's exporter lacks a package."""
    for package in PACKAGES:
        pytest.importorskip(package, reason=f"{package} isn't installed; `make test-exports` does it")


def graph_of(network: Transformer) -> OnnxStep:
    """Return a network's graph, traced without the checks of shapes."""
    with unchecked():
        return onnx_step(network)


@contextmanager
def unchecked() -> Iterator[None]:
    """Leave out the checks of shapes, which tests alone have: an exporter traces with lengths that are symbols."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
