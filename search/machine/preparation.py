"""The text and the tokenizers that a study needs, prepared once, several tokenizers at a time."""

import itertools
import multiprocessing
import queue
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from model.config import DataConfig, TokenizerConfig
from model.data.corpus import prepare
from model.data.tokenizer import cpu_count
from model.errors import DataError, ModelError
from search.common import paths
from search.common.signals import StopRequest
from search.study.plan import Plan
from search.study.space import SECTION_OF

MOST_AT_ONCE = 4  # a tokenizer's training holds about half a gigabyte
POLL_SECONDS = 0.2

Progress = Callable[[str, int, int | None], None]
spawn = multiprocessing.get_context("spawn")


def tokenizers(plan: Plan) -> list[TokenizerConfig]:
    """Return the tokenizers that a study may need, the baselines' first; all of a range only where they are few."""
    names = [n for n in plan.space.parameters if SECTION_OF[n] == "tokenizer"]
    choices = [plan.space.parameters[n].values(most=24) or () for n in names]
    wanted = [{n: p[n] for n in names if n in p} for p in plan.baselines.values()]
    wanted += [dict(zip(names, values, strict=True)) for values in itertools.product(*choices)]
    return list(dict.fromkeys(plan.configuration(params).tokenizer for params in wanted or [{}]))


def prepare_all(plan: Plan, progress: Progress, stop: StopRequest) -> None:
    """Prepare everything before the workers that share it start; returns early when stopping is asked for.

    The first tokenizer reads the text; the others then train at the same time, each in a process of its own, since
    most of SentencePiece's training runs on one core. Raises what `prepare` raises.
    """
    first, *others = tokenizers(plan)
    prepare(plan.data, first, paths.cache(), progress)
    running: list[BaseProcess] = []
    told = spawn.Queue()
    try:
        while (others or running) and not stop():
            while others and len(running) < min(MOST_AT_ONCE, cpu_count()):
                running.append(_start(plan.data, others.pop(0), told))
            _pass_on(told, progress)
            for process in [p for p in running if not p.is_alive()]:
                running.remove(process)
                _pass_on(told, progress)
                if process.exitcode:
                    raise DataError(f"a tokenizer's preparation ended with {process.exitcode}; is memory short?")
    finally:
        for process in running:
            process.terminate()
            process.join()


def _start(data: DataConfig, tokenizer: TokenizerConfig, told: Any) -> BaseProcess:
    process = spawn.Process(target=_prepare_one, args=(data, tokenizer, paths.cache(), told), daemon=True)
    process.start()
    return process


def _prepare_one(data: DataConfig, tokenizer: TokenizerConfig, cache: Path, told: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for our parent, who ends us
    try:
        prepare(data, tokenizer, cache, lambda *stage: told.put(stage))
    except ModelError as error:
        told.put(error)


def _pass_on(told: Any, progress: Progress) -> None:
    """Pass on what the processes have told, for a moment; raise what went wrong in them."""
    try:
        while True:
            news = told.get(timeout=POLL_SECONDS)
            if isinstance(news, ModelError):
                raise news
            progress(*news)
    except queue.Empty:
        return
