"""Models' writing, graded by a judge if there is one, and counted."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model.config import DataConfig
from model.data.corpus import text_sha256, training_documents
from model.errors import DataError
from search.common.errors import SearchError
from search.grade.asking import Judged, ask_all
from search.grade.authors import Author
from search.grade.counts import known_among
from search.grade.cross_bpb import cross_bits
from search.grade.judge import Judge
from search.grade.measures import all_words, bpb_matrix, counted, graded
from search.grade.results import JudgeReport, Results
from search.grade.spending import Spending
from search.grade.store import Store
from search.grade.writing import Completion, SampleSettings, write_all
from search.retrain.train import data_from
from search.show.wording import counted as number_of

OnStage = Callable[[str, int, int | None], None]
"""Called with a stage, what is done, and all (None: not known)."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """A judge, and how it is asked."""

    judge: Judge
    spending: Spending
    parallel: int
    """Questions at a time."""


def grade(
    authors: Sequence[Author],
    prompts: Sequence[str],
    settings: SampleSettings,
    *,
    data: DataConfig | None,
    source: str | None,
    asking: Asking | None,
    cache: Path,
    should_stop: Callable[[], bool],
    on_stage: OnStage,
) -> Results:
    """Let models write after prompts, and return the judge's grades and what is counted.

    Args:
        authors: the models.
        prompts: beginnings of texts.
        settings: how the models write.
        data: the text whose words are known; None: that of the first model whose file says.
        source: where that text is here; None: where it was.
        asking: the judge, or None for counts alone.
        cache: folder of what is kept: samples and answers, prepared text.
        should_stop: whether to stop.
        on_stage: is told of progress.

    Raises `StoppedError` when asked to stop, and what `ask_all` raises.

    """
    samples, answers = (Store(cache / "grade" / name) for name in ("samples", "answers"))
    completions = write_all(authors, prompts, settings, samples, should_stop, partial(on_stage, "models write"))
    notes = _notes(authors, prompts)
    bits = cross_bits(authors, prompts, completions, should_stop, partial(on_stage, "models read one another"))
    known = None
    try:
        data = data or next((a.data for a in authors if a.data), None)
        known = _known(data, source, prompts, completions, cache, on_stage)
    except (DataError, SearchError) as error:
        notes.append(f"known words aren't counted: {error}")
    judge, grades = None, []
    if asking is not None:
        judged = ask_all(
            asking.judge,
            prompts,
            completions,
            settings.seed,
            answers,
            asking.spending,
            asking.parallel,
            should_stop,
            partial(on_stage, "the judge grades"),
        )
        grades = graded(completions, judged, len(authors), len(prompts))
        judge = _judge_report(asking, completions, judged)
    return Results(
        authors=authors,
        prompts=prompts,
        completions=completions,
        settings=settings,
        grades=grades,
        counts=counted(prompts, completions, bits, known),
        matrix=bpb_matrix(completions, bits),
        judge=judge,
        notes=notes,
    )


def _judge_report(asking: Asking, completions: Sequence[Completion], judged: Judged) -> JudgeReport:
    nonsense = Counter(completions[index].author for index in judged.answers if judged.grades(index) is None)
    return JudgeReport(
        address=asking.judge.address,
        model=asking.judge.model,
        judged=judged,
        spending=asking.spending,
        nonsense=nonsense,
    )


def _known(
    data: DataConfig | None,
    source: str | None,
    prompts: Sequence[str],
    completions: Sequence[Completion],
    cache: Path,
    on_stage: OnStage,
) -> set[str]:
    """Return those of the written words that occur in a training text; raises `SearchError` if none is named."""
    if data is None:
        raise SearchError("no model says which text it was trained on")
    sha256 = text_sha256(data_from(data, source), cache, on_stage)
    on_stage("looking words up in the training text", 0, None)
    return known_among(all_words(prompts, completions), training_documents(sha256, cache))


def _notes(authors: Sequence[Author], prompts: Sequence[str]) -> list[str]:
    """Return what readers of the figures should know of models and prompts."""
    notes = []
    for author in authors:
        context = author.model.network.config.context
        long = sum(len(ids) + 1 > context for ids in author.model.tokenizer.encode(list(prompts)))
        if long:
            notes.append(
                f"{author.name} sees only the end of {number_of(long, 'prompt')}, longer than its context of "
                f"{context} tokens"
            )
    if len(prompts) < 2:
        notes.append("one prompt gives no intervals: how models differ from prompt to prompt isn't known")
    return notes
