"""The study file itself: every line explained, what was found beside it, the first rows quoted."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import tomli_w

from search.common.durations import format_duration
from search.common.errors import SearchError
from search.init.inspect_text import Text
from search.init.sizing import CPU_TOKENS_PER_PARAM, GPU_TOKENS_PER_PARAM, Size
from search.machine.hardware import Machine
from search.study.plan import Plan

QUOTED = 84
"""Characters of a row that are shown."""


def render(name: str, text: Text, machine: Machine, size: Size, source: str, price: tuple[float, str]) -> str:
    """Return the file's text; it is a plan by itself."""
    parts = [_head(name, machine, size), _data(text, size, source), _training(machine, size), _space(size)]
    written = "\n".join([*parts, _search(size), _cost(price), _by_hand(size)])
    Plan.parse(written, name=name, origin="the new study file")
    return written


def check_free(path: Path, force: bool) -> None:
    """Raise `SearchError` where there is such a file already, and it isn't to be written over."""
    if path.exists() and not force:
        raise SearchError(f"{path} exists; --force writes over it, --out names another file")
    if not path.parent.is_dir():
        raise SearchError(f"--out is {path}, but the folder {path.parent} does not exist; create it first")


def write(path: Path, text: str, force: bool) -> None:
    """Write a file whole or not at all; raises `SearchError` where there is one already, or it can't be written."""
    check_free(path, force)
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".lilm-", delete=False) as file:
            file.write(text)
        Path(file.name).chmod(0o666 & ~_umask())
        Path(file.name).replace(path)
    except OSError as error:
        raise SearchError(f"{path} can't be written: {error.strerror}; --out names another file") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def quoted(text: str) -> str:
    """Return the beginning of a text as one line that any terminal and TOML comment can hold."""
    shown = text if len(text) <= QUOTED else text[:QUOTED]
    safe = json.dumps(shown, ensure_ascii=False)
    return printable(safe) + ("…" if shown != text else "")


def printable(text: str) -> str:
    """Return the text with what no comment may hold, or what a terminal would obey, escaped."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _toml(key: str, value: Any) -> str:
    return tomli_w.dumps({key: value}).strip()


def _head(name: str, machine: Machine, size: Size) -> str:
    hours = f"{format_duration(size.hours * 3600)} of one worker's time"
    return f"""\
# A study for lilm-search, written by `lilm-search init` for {printable(machine.label)}.
# As written: {size.trials} proxy trials of {size.budget}, then a race of about a dozen confirmation runs of
# {size.confirm}: about {hours} in all, less what pruning saves.
# Every line may be changed. What else there is: lilm-search studies show {name}.toml
{_toml("description", f"{name}: short proxies of many configurations, long confirmation runs of the best")}
"""


def _data(text: Text, size: Size, source: str) -> str:
    rows = (
        "one long row"
        if text.max_row_bytes
        else f"{'' if text.exact else 'about '}{text.rows:,.0f} rows"
        if text.rows is not None
        else "rows that nobody counted"
    )
    amount = f", {human(text.total_bytes)} of text" if text.total_bytes else ""
    lines = [
        f"[data]                      # {rows}{amount}; the first of them:",
        *(f"#   {quoted(row)}" for row in text.first),
        _toml("source", source),
    ]
    if text.column is not None:
        also = f"; text, too: {', '.join(text.others)}" if text.others else ""
        lines.append(_line(_toml("column", text.column), f"where the text is{also}"))
    if text.split != "train":
        lines.append(_line(_toml("split", text.split), "trained on"))
    if text.validation_split:
        lines.append(
            _line(_toml("validation_split", text.validation_split), "what BPB is measured on; never trained on")
        )
    else:
        period, held = size.holdout
        share = f": {human(size.validation_bytes)}" if size.validation_bytes else ""
        lines.append(_line(f"holdout_period = {period}", "of every so many rows ..."))
        lines.append(
            _line(f"holdout_rows = {held}", f"... the first {held} are held out{share}; BPB is measured on them")
        )
    if text.max_row_bytes:
        lines.append(_line(f"max_row_bytes = {text.max_row_bytes}", "it is one long row, cut into pieces, each a row"))
    joined = (
        "a row is a document" if text.rows_per_document == 1 else "a row is one line of text; neighbours are joined"
    )
    lines.append(_line(f"rows_per_document = {text.rows_per_document}", joined))
    return "\n".join(lines) + "\n"


def _line(setting: str, comment: str) -> str:
    return f"{setting:<27} # {printable(comment)}"


def _training(machine: Machine, size: Size) -> str:
    kind = size.tokenizer
    why = "half a percent better than bpe, slower to train" if kind == "unigram" else "quick"
    micro = [] if machine.kind == "cuda" else ["[train]", _line("micro_batch = 16", "sequences at a time on a CPU"), ""]
    lines = [
        "[tokenizer]",
        _line(_toml("kind", kind), f"{why}; either loses nothing"),
        "",
        "[model]",
        _line(f"context = {size.by_hand.context}", "tokens that a prediction may look back on"),
        "",
        *micro,
    ]
    return "\n".join(lines)


def _space(size: Size) -> str:
    by_hand = size.by_hand
    pairs = [
        ("max_lr = { low = 3e-4, high = 3e-2, log = true }", "a wide range: the best rate moves with everything else"),
        (f"vocab_size = {{ choices = {list(size.vocabularies)} }}", "tokens"),
        (f"n_layer = {{ low = {size.layers[0]}, high = {size.layers[1]} }}", f"around {by_hand.n_layer}, made by hand"),
        (f"n_head = {{ low = {size.heads[0]}, high = {size.heads[1]} }}", "width is n_head × head_dim"),
        (f"head_dim = {{ choices = {list(size.head_dims)} }}", ""),
        (f"batch_size = {{ choices = {list(size.batches)} }}", f"sequences; of {by_hand.context} tokens"),
    ]
    lines = [f"{setting:<51} # {comment}" if comment else setting for setting, comment in pairs]
    largest = f"what is searched; the largest network has {count(size.most_parameters)} parameters"
    most = _line("[space]", largest)
    return "\n".join([most, *lines]) + "\n"


def _search(size: Size) -> str:
    quick = size.trials < 100
    every = "10" if size.budget.endswith("s") else "5"
    lines = [
        "[proxy]                     # the short runs that search",
        f"trials = {size.trials}",
        _line(_toml("budget", size.budget), "training time of each; start-up and evaluation aren't in it"),
        _line(f"report_every = {every}", "percent of the budget; hopeless trials are stopped at these points"),
        *(
            [_line("report_bytes = 65_536", "of validation text for a report; the final value uses all")]
            if quick
            else []
        ),
        *([_line("startup = 8", "drawn at random before the search learns")] if quick else []),
        "",
        "[confirm]                   # the long runs that decide",
        _line(_toml("budget", size.confirm), "what you mean to train for; much longer than the proxy foretells less"),
        _line(f"top = {4 if quick else 8}", "best proxies, and every baseline"),
        _line("random = 1", "so that not only winners are compared"),
        _line(f"widen = {2 if quick else 3}", "more while the proxy isn't shown to predict"),
        _line(f"seeds = {2 if quick else 1.4}", "runs of each on average; they go where they can change the answer"),
        "",
    ]
    return "\n".join(lines)


def _cost(price: tuple[float, str]) -> str:
    cap = "# max_usd = 20.0: no run is started that would cost more in all"
    return f"[cost]\n{_line(f'usd_per_gpu_hour = {price[0]:g}', price[1])}\n{cap}\n"


def _by_hand(size: Size) -> str:
    m = size.by_hand
    measured = f"about {size.tokens_per_param:,.0f} tokens per parameter in {size.confirm}, as measured here"
    wanted = GPU_TOKENS_PER_PARAM if size.trials >= 100 else CPU_TOKENS_PER_PARAM
    return f"""\
[recipe]                    # the search by hand: lilm-search recipe
tokens_per_param = {wanted}
{_line(f"measure_seconds = {10.0 if size.trials >= 100 else 2.0}", "to measure the speed of a depth")}

[baselines.by-hand]         # yours, if you have one: always run and confirmed, so that the answer is never worse
max_lr = 3e-3
vocab_size = {size.vocab_size}
{_line(f"n_layer = {m.n_layer}", measured)}
n_head = {m.n_head}
head_dim = {m.head_dim}
batch_size = {size.batch_size}
"""


def human(size: float) -> str:
    """Return a number of bytes as people say it."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"


def count(number: float) -> str:
    """Return a number as people say it."""
    for unit, factor in ((" billion", 1e9), (" million", 1e6)):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:,.0f}"
