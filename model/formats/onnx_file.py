"""A network as an ONNX graph that reads one token more: what a page's runtime calls again and again.

Whatever a network keeps of the tokens read so far goes in and comes out as numbers, so that the caller needs to know
nothing of its blocks. Shapes: S tokens read so far, W = `row_width` numbers kept of each, M = `memory_width` numbers
whose count doesn't grow with the text, V vocabulary.

    token (1,) int64, rows (S, W), memory (M,)  ->  logits (V,), row (1, W), memory_after (M,)
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.errors import CheckpointError
from model.network.mixers.attention import KeyValues
from model.network.shapes import Float, Int
from model.network.transformer import ReadState, Transformer
from model.options.documents import SEPARATOR

PACKAGES = ("onnx", "onnxscript")
"""What torch's exporter needs beside torch."""
INPUTS, OUTPUTS = ("token", "rows", "memory"), ("logits", "row", "memory_after")
MOST_PARAMETERS = 250_000_000
"""A gigabyte in float32: a file of ONNX may have two, and a visitor's browser hardly so much."""
TRACED_LENGTH = 5
"""Tokens so far that the graph is traced with; any other number will do."""


@dataclass(frozen=True)
class OnnxStep:
    """A network, and its state after the separator, which stands before every text."""

    graph: bytes
    """The file, weights in float32."""
    first: bytes
    """Logits (V), row (W) and memory (M) after the separator, little-endian float32, one after the other."""
    row_width: int
    memory_width: int


def refusal(config: ModelConfig) -> str | None:
    """Return why such a network can't be written, or None if it can."""
    if config.segment:
        return f"segment = {config.segment} makes steps differ by their place in a segment, which a graph can't"
    if config.mixer == "megalodon":
        return 'mixer = "megalodon" makes steps differ by their place in a chunk, which a graph can\'t'
    return None


def check(config: ModelConfig, option: str) -> None:
    """Raise `CheckpointError`, naming the option that asked, if such a network can't be written, here or at all."""
    if reason := refusal(config):
        raise CheckpointError(f"{option}: this network can't be an ONNX graph: {reason}; --huggingface writes any")
    for package in PACKAGES:
        try:
            __import__(package)
        except ModuleNotFoundError:
            raise CheckpointError(f"{option} needs the package {package}: pip install 'lilm-search[web]'") from None


def onnx_step(network: Transformer) -> OnnxStep:
    """Return the network's graph; raises `CheckpointError` if it is too large for one."""
    parameters = sum(p.numel() for p in network.parameters())
    if parameters > MOST_PARAMETERS:
        raise CheckpointError(f"{parameters:,} parameters are more than a page can hold; at most {MOST_PARAMETERS:,}")
    step = _Step(network).eval()
    first = torch.cat([t.flatten() for t in step.first()]).numpy().astype("<f4").tobytes()
    return OnnxStep(_exported(step), first, step.row_width, step.memory_width)


class _Step(nn.Module):
    """`Transformer.step` of one token as a function of tensors alone."""

    def __init__(self, network: Transformer) -> None:
        super().__init__()
        self.network = network
        self.kept = _Kept(network.initial_state(1, 1, torch.float32).blocks)
        # A graph has no inputs of width 0: a network that keeps nothing of a kind gets a number that nothing reads.
        self.row_width = max(1, sum(self.kept.row_widths))
        self.memory_width = max(1, sum(self.kept.memory_widths))

    def forward(
        self, token: Int[Tensor, "1"], rows: Float[Tensor, "S W"], memory: Float[Tensor, "M"]
    ) -> tuple[Float[Tensor, "V"], Float[Tensor, "1 W"], Float[Tensor, "M"]]:
        """Return logits, the token's row and the memory after it."""
        blocks = self.kept.given(rows, memory)
        # Whatever they were, none was a separator but the first: all are of one document.
        tokens = (torch.arange(rows.shape[0]) == 0)[None] * SEPARATOR
        return self._after(token, ReadState(blocks, tokens))

    @torch.no_grad()
    def first(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `forward` would for the separator, before which there is nothing."""
        return self._after(torch.tensor([SEPARATOR]), self.network.initial_state(1, 1, torch.float32))

    def _after(self, token: Tensor, state: ReadState) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.network.step(token[None], state)[0]
        row, memory = self.kept.taken(state.blocks)
        nothing = token.float()
        return logits, (row if len(row) else nothing)[None], memory if len(memory) else nothing


class _Kept:
    """What the blocks of a network keep, as numbers: each leaf of their states is a part of a row or of the memory."""

    def __init__(self, initial: list[Any]) -> None:
        self.initial = initial
        self.row_widths = [_row_width(leaf) for leaf in _leaves(initial) if _grows(leaf)]
        self.memory_widths = [leaf.numel() for leaf in _leaves(initial) if not _grows(leaf)]

    def given(self, rows: Tensor, memory: Tensor) -> list[Any]:
        """Return the blocks' states of these numbers."""
        columns = iter(torch.split(rows[:, : sum(self.row_widths)], self.row_widths, dim=1))
        parts = iter(torch.split(memory[: sum(self.memory_widths)], self.memory_widths))

        def part(leaf: Any) -> Any:
            if isinstance(leaf, KeyValues):
                heads, width = leaf.keys.shape[1], leaf.keys.shape[3]
                both = torch.unflatten(next(columns), 1, (2, heads, width)).permute(1, 2, 0, 3)
                return _Appended(both[:1], both[1:])
            if _grows(leaf):
                return next(columns).T > 0.5
            return next(parts).clone().view(leaf.shape).to(leaf.dtype)  # a clone, for some are overwritten

        return [_rebuilt(block, part) for block in self.initial]

    def taken(self, blocks: list[Any]) -> tuple[Tensor, Tensor]:
        """Return the last token's row and the memory that are in these states."""
        row, memory = [torch.empty(0)], [torch.empty(0)]
        for before, after in zip(_leaves(self.initial), _leaves(blocks), strict=True):
            if isinstance(after, KeyValues | _Appended):
                row += [t[:, :, -1:].flatten() for t in (after.keys, after.values)]
            elif _grows(before):
                row.append(after[:, -1].float())
            else:
                memory.append(after.flatten().float())
        return torch.cat(row), torch.cat(memory)


class _Appended:
    """Keys and values as attention's `KeyValues` keeps them, but never overwritten."""

    def __init__(self, keys: Float[Tensor, "B G S K"], values: Float[Tensor, "B G S K"]) -> None:
        self.keys, self.values = keys, values

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return all keys and values so far."""
        self.keys, self.values = torch.cat((self.keys, keys), dim=2), torch.cat((self.values, values), dim=2)
        return self.keys, self.values


def _grows(leaf: Any) -> bool:
    """Return whether a leaf of an initial state has a part for each token."""
    return isinstance(leaf, KeyValues) or leaf.numel() == 0


def _row_width(leaf: Any) -> int:
    return 2 * leaf.keys.shape[1] * leaf.keys.shape[3] if isinstance(leaf, KeyValues) else 1


def _leaves(state: Any) -> Iterator[Any]:
    """Yield the keys and values, and the tensors, of a block's state in their order."""
    if isinstance(state, list | tuple):
        for part in state:
            yield from _leaves(part)
    elif state is not None:
        yield state


def _rebuilt(state: Any, part: Callable[[Any], Any]) -> Any:
    """Return a state of the same form with other leaves."""
    if not isinstance(state, list | tuple):
        return state if state is None else part(state)
    parts = [_rebuilt(each, part) for each in state]
    if isinstance(state, list):
        return parts
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def _exported(step: _Step) -> bytes:
    """Return the graph by torch's exporter, for any number of tokens from 1 to a whole context."""
    past = torch.export.Dim("past", min=1, max=step.network.config.context - 1)
    example = torch.tensor([SEPARATOR]), torch.zeros(TRACED_LENGTH, step.row_width), torch.zeros(step.memory_width)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of torchvision, which nothing here needs
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                step,
                example,
                dynamic_shapes=({}, {0: past}, {}),
                input_names=INPUTS,
                output_names=OUTPUTS,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    if program is None:
        raise CheckpointError("torch's exporter made no graph of this network")
    return _bare(program.model_proto)


def _bare(model: Any) -> bytes:
    """Return the file without notes: the exporter writes where each operation stands in the source on this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    return bytes(model.SerializeToString())
