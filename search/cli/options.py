"""Options that several commands have, and the device that they train on."""

from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli.completion import studies

Study = Annotated[
    str,
    typer.Option(
        "--study", help="A shipped study, a study file's path, or a study in the database.", autocompletion=studies
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        envvar="LILM_SEARCH_STORAGE",
        show_envvar=True,
        help="postgresql://USER@HOST/DATABASE, or file:PATH of a private file that holds such a URL with its "
        "password; without it, an embedded PostgreSQL on this machine.",
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1; the default is the GPU if there is one.")]
CompiledKey = Annotated[
    Path | None,
    typer.Option(
        "--compiled-key-file",
        envvar="LILM_SEARCH_COMPILED_KEY_FILE",
        show_envvar=True,
        help="A private file with the key by which workers share what they compile; or set LILM_SEARCH_COMPILED_KEY to "
        "the key. Without one nothing is shared.",
    ),
]
COMPILE_THREADS = "TORCHINDUCTOR_COMPILE_THREADS"
"""Torch's own variable: processes that compile at the same time, 32 or all cores without it."""
MOST_SEED = 2**31 - 1
"""The largest seed. torch and numpy accept larger ones, which numbers added to it may make."""
Rank = Annotated[
    int | None, typer.Option(min=1, help="Rank of the configuration in an export of several (--top); 1 is the best.")
]


def pick_device(name: str | None) -> Any:
    """Return the torch device of this name, by default the GPU if there is one; raises `SearchError` if there is none.

    A GPU becomes torch's current device: what names none, such as a pinned copy, would else begin with the first one.
    What is compiled for it is kept on disk: another trial of the same shape finds it there. As many processes compile
    as this GPU has a share of the cores, since a worker on each GPU may compile at the same time.
    """
    import os

    import torch

    from model.data.tokenizer import cpu_count
    from search.common import paths
    from search.common.errors import SearchError
    from search.machine.driver import why_no_gpu

    share = max(1, cpu_count() // max(1, torch.cuda.device_count()))
    os.environ.setdefault(COMPILE_THREADS, str(share))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.cache() / "compiled"))

    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        usable = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_available())
        usable = usable and (device.index or 0) < max(1, torch.cuda.device_count())
    except RuntimeError:
        usable = False
    if not usable:
        devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        cause = why_no_gpu() or "torch sees no GPU here; `lilm-search doctor` says more"
        hint = "" if torch.cuda.is_available() else f": {cause}"
        raise SearchError(f'--device is "{name}", but must be one of {", ".join(devices)}{hint}')
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    return device
