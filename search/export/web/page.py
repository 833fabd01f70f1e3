"""A release as one static page: model, tokenizer, runtime and what shows them, as files in a folder or a zip."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from model.formats import zip_bundle
from model.formats.checkpoint import Checkpoint
from model.formats.load import check_new, write_folder
from model.formats.onnx_file import onnx_step
from model.network.flops import count_active_parameters, count_parameters
from search.common import out_file
from search.common.durations import format_duration
from search.common.network_size import parameters_text
from search.common.templates import fill
from search.export.export import runs_text
from search.export.web import runtime

STATIC = ("page.js", "worker.js", "tokenizer.js", "style.css")
LICENCE = f"LICENSE-{runtime.NAME}.txt"
LOADING = "How to load it"
"""Section of a model card that is about other files than a page's."""
PROMPT = "the "
"""Prompt that a visitor finds there."""


def check(place: Path) -> None:
    """Raise `SearchError` or `CheckpointError` if no page can be written there: to a new folder, or to a .zip."""
    if is_zip(place):
        out_file.check(place, "--web")
    else:
        out_file.check_place(place, "--web")
        check_new(place)


def is_zip(place: Path) -> bool:
    """Return whether a page goes into a zip there, and not into a folder."""
    return place.suffix == ".zip"


def write_page(
    place: Path, release: Mapping[str, bytes], trained: Checkpoint, runtime_files: Mapping[str, bytes]
) -> int:
    """Write a release's page whole or not at all; return its bytes. Raises `CheckpointError` if it can't be."""
    files = page_files(release, trained, runtime_files)
    if is_zip(place):
        zip_bundle.pack(place, files)
    else:
        write_folder(place, files)
    return sum(map(len, files.values()))


def page_files(
    release: Mapping[str, bytes], trained: Checkpoint, runtime_files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return a page's files by name, made of a release's files, the model in it and the runtime's files."""
    step = onnx_step(trained.network)
    loaded = {"model.onnx": step.graph, "first.bin": step.first, "tokenizer.json": release["tokenizer.json"]}
    loaded |= {name: content for name, content in runtime_files.items() if name.endswith(".wasm")}
    settings = {
        "context": trained.network.config.context,
        "vocab_size": trained.network.vocab_size,
        "separator": trained.tokenizer.separator,
        "row_width": step.row_width,
        "memory_width": step.memory_width,
        "files": {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in loaded.items()},
    }
    package, card = resources.files(__package__), _card(release["README.md"].decode())
    return {
        **loaded,
        **runtime_files,
        **{name: package.joinpath(name).read_bytes() for name in STATIC},
        "model.json": (json.dumps(settings, indent=2) + "\n").encode(),
        "index.html": _html(release, trained, card).encode(),
        LICENCE: _licence().encode(),
        "README.md": card.encode(),
        "export.toml": release["export.toml"],
    }


def _html(release: Mapping[str, bytes], trained: Checkpoint, card: str) -> str:
    table = tomllib.loads(release["export.toml"].decode())
    return fill(
        __package__,
        "index.html.j2",
        name=table["study"],
        parameters=_parameters(trained),
        context=trained.network.config.context,
        prompt=PROMPT,
        facts=facts(table, trained),
        card=card,
        runtime=f"{runtime.NAME} {runtime.VERSION}",
    )


def facts(table: Mapping[str, Any], trained: Checkpoint) -> list[tuple[str, str]]:
    """Return what the page says of the model, BPB first, as terms and texts; `table` is the release's export."""
    config, info, result = trained.network.config, trained.info, table["result"]
    bounds = result.get("interval_95")
    interval = f" ({bounds[0]:.4f} … {bounds[1]:.4f})" if bounds else ""
    layers = f"{config.n_layer} layers, width {config.d_model}, {config.n_head} heads, {config.attention} attention"
    return [
        ("BPB", f"{info['val_bpb']:.4f}"),
        ("configuration", f"{result['val_bpb']:.4f}{interval}, {runs_text(result)}"),
        ("text", str(table["data"]["source"])),
        ("trained for", format_duration(info["budget_seconds"])),
        ("parameters", _parameters(trained)),
        ("network", layers),
        ("looks back on", f"{config.context} tokens"),
        ("tokens", f"{trained.network.vocab_size:,}, {table['tokenizer']['kind']}"),
    ]


def _parameters(trained: Checkpoint) -> str:
    shape = (trained.network.config, trained.network.vocab_size)
    return parameters_text(count_parameters(*shape), count_active_parameters(*shape))


def _card(readme: str) -> str:
    """Return a model card without the lines for machines at its top, and without how other programs load the model."""
    sections = readme.split("\n---\n", 1)[-1].strip().split("\n## ")
    return "\n## ".join(section for section in sections if not section.startswith(LOADING)) + "\n"


def _licence() -> str:
    package = {"name": runtime.NAME, "version": runtime.VERSION, "files": list(runtime.FILES)}
    return fill(__package__, "LICENSE.txt.j2", **package)
