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

MOST_AT_ONCE = 4
"""Tokenizers trained at the same time; each takes about half a gigabyte."""
POLL_SECONDS = 0.2
"""Seconds between looks at the processes."""

Progress = Callable[[str, int, int | None], None]
"""Called with a stage, and how much of how much is done; the last is None if it isn't known."""
spawn = multiprocessing.get_context("spawn")


def tokenizers(plan: Plan) -> list[TokenizerConfig]:
    """Return the tokenizers that a study may need, the baselines' first; those of a range only if it has 24 at most."""
    names = [n for n in plan.space.parameters if SECTION_OF[n] == "tokenizer"]
    choices = [plan.space.parameters[n].values(most=24) or () for n in names]
    named = [*plan.baselines.values(), *(plan.grid() if plan.ideas else [])]
    settings = [{n: v for n, v in params.items() if SECTION_OF[n] == "tokenizer"} for params in named]
    settings += [dict(zip(names, values, strict=True)) for values in itertools.product(*choices)]
    return list(dict.fromkeys(plan.configuration(params).tokenizer for params in settings or [{}]))


def prepare_all(plan: Plan, progress: Progress, stop: StopRequest) -> None:
    """Prepare text and tokenizers before the workers that share them start; return early if stopping is asked for.

    The text is read with the first tokenizer; the others are then trained at the same time, each in a process of its
    own, since most of SentencePiece's training runs on one core. Raises what `prepare` raises.
    """
    first, *others = tokenizers(plan)
    prepare(plan.data, first, paths.cache(), progress)
    running: list[BaseProcess] = []
    messages = spawn.Queue()
    try:
        while (others or running) and not stop():
            while others and len(running) < min(MOST_AT_ONCE, cpu_count()):
                running.append(_start(plan.data, others.pop(0), messages))
            _pass_on(messages, progress)
            for process in [p for p in running if not p.is_alive()]:
                running.remove(process)
                _pass_on(messages, progress)
                if process.exitcode:
                    raise DataError(f"a tokenizer's preparation ended with {process.exitcode}; is memory short?")
    finally:
        for process in running:
            process.terminate()
            process.join()


def _start(data: DataConfig, tokenizer: TokenizerConfig, messages: Any) -> BaseProcess:
    process = spawn.Process(target=_prepare_one, args=(data, tokenizer, paths.cache(), messages), daemon=True)
    process.start()
    return process


def _prepare_one(data: DataConfig, tokenizer: TokenizerConfig, cache: Path, messages: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent, which ends this process
    try:
        prepare(data, tokenizer, cache, lambda *stage: messages.put(stage))
    except ModelError as error:
        messages.put(error)


def _pass_on(messages: Any, progress: Progress) -> None:
    """Pass on the progress of the processes until they are silent for a moment; raise an error that one has sent."""
    try:
        while True:
            message = messages.get(timeout=POLL_SECONDS)
            if isinstance(message, ModelError):
                raise message
            progress(*message)
    except queue.Empty:
        return
