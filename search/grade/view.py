"""What was found of models' writing on a terminal, and as a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.text import Text

from search.common import out_file
from search.grade.compare import Mean, mean
from search.grade.measures import Measure
from search.grade.results import JudgeReport, Results, graded_completions
from search.show.columns import NOTHING, Column, Columns
from search.show.figures.output import page
from search.show.figures.style import COLOURS, plain, template
from search.show.wording import counted
from search.study.results import Significance

MOST_IN_MATRIX = 8
"""Most models of which a terminal shows each one's BPB under each other."""
MUCH_NONSENSE = 0.05
"""Share of nonsense from which the grades are doubtful."""
_VERDICTS = {Significance.MORE_THAN_NOISE: "*", Significance.MAY_BE_CHANCE: ""}
_ROW_PIXELS, _PANEL_PIXELS = 24, 70
_GRADES = (
    "Grades from 1 to 10, means over prompts ± 95%. To the first: paired by prompt, ± 95% for all pairs of models "
    "together; * is more than chance explains."
)
_COUNTS = (
    "Means over prompts ± 95%. ended: texts that the model ended itself. repeated: 4-grams that were there before in "
    "the text. distinct-n: different n-grams of a prompt's samples ÷ their words; longer texts have less. known: words "
    "that occur in the training text. BPB: of what was written, given the prompt, under the model itself, and under "
    "the others."
)


def terminal(results: Results) -> Group:
    """Return all figures as tables for a terminal, with what they mean."""
    parts: list[Any] = []
    if results.judge is not None:
        parts += [Text("Graded writing", style="bold"), _grades(results), Text(_GRADES, style="dim")]
        parts += [*map(Text, judge_lines(results.judge)), Text()]
    parts += [Text("Counted", style="bold"), _counts(results), Text(_COUNTS, style="dim")]
    if 1 < len(results.authors) <= MOST_IN_MATRIX:
        parts += [
            Text(),
            Text("BPB of what each model wrote (row) under each (column)", style="bold"),
            _matrix(results),
        ]
    return Group(*parts, *(Text(f"note: {note}") for note in results.notes))


def _grades(results: Results) -> Columns:
    measures = [*results.grades[1:], results.grades[0]]
    head = [Column(name="model"), *(Column(name=m.name, right=True) for m in measures)]
    head += [Column(name="to the first", right=True), Column(name="graded", right=True, weight=1)]
    rows = []
    for model in results.order:
        behind = results.behind(results.grades[0], model)
        gap = NOTHING
        if behind is not None:
            gap = f"{_short(behind.difference, '+.2f')}{_VERDICTS.get(behind.significance, ' ?')}"
        cells = [_cell(m, model) for m in measures]
        rows.append([results.authors[model].name, *cells, gap, f"{graded_completions(results, model):,}"])
    return Columns(head, rows)


def _counts(results: Results) -> Columns:
    head = [Column(name="model"), *(Column(name=m.name, right=True, weight=m.weight) for m in results.counts)]
    return Columns(head, [[results.authors[i].name, *(_cell(m, i) for m in results.counts)] for i in results.order])


def _matrix(results: Results) -> Columns:
    head = [Column(name="model"), *(Column(name=str(place + 1), right=True) for place in range(len(results.order)))]
    rows = [
        [f"{place} {results.authors[i].name}", *(_number(results.matrix[i, j]) for j in results.order)]
        for place, i in enumerate(results.order, start=1)
    ]
    return Columns(head, rows)


def _number(value: float) -> str:
    return NOTHING if np.isnan(value) else f"{value:.3f}"


def _cell(measure: Measure, model: int) -> str:
    found = mean(measure.values[model])
    return NOTHING if found is None else _short(found, measure.form)


def _short(found: Mean, form: str) -> str:
    text = format(found.value, form)
    return text if found.half_width is None else f"{text}±{format(found.half_width, form.lstrip('+')).rstrip('%')}"


def judge_lines(report: JudgeReport) -> list[str]:
    """Return what was asked of the judge, what it cost and what came to nothing, in sentences."""
    judged, spending = report.judged, report.spending
    answers, nonsense = len(judged.answers), sum(report.nonsense.values())
    kept = f" and {judged.kept:,} kept from before" if judged.kept else ""
    sentences = [
        f"Judge: {report.model} at {report.address}; {counted(judged.asked, 'answer')} to "
        f"{counted(spending.requests, 'request')}{kept}. {_cost(report)}"
    ]
    if nonsense:
        doubt = "; such grades are doubtful" if nonsense > MUCH_NONSENSE * answers else ""
        sentences.append(f"Nonsense instead of grades: {nonsense:,} of {answers:,} completions, left out{doubt}.")
    if judged.cap:
        sentences.append(f"Not all were judged: {judged.cap}. What is judged is kept: a run with a higher cap goes on.")
    return sentences


def _cost(report: JudgeReport) -> str:
    spending = report.spending
    if spending.uncounted:
        return f"Tokens and cost: unknown, since {counted(spending.uncounted, 'answer')} didn't say."
    usd = "unknown (--usd-per-million-tokens tells)" if spending.usd is None else f"${spending.usd:,.4f}"
    return f"Tokens: {spending.input_tokens:,} in, {spending.output_tokens:,} out; cost: {usd}."


def write_figure(results: Results, path: Path, title: str) -> None:
    """Write one HTML file that needs no network: every measure of every model, with intervals."""
    about = [*([*judge_lines(results.judge), _GRADES] if results.judge else []), _COUNTS, *results.notes]
    subtitle = f"{counted(len(results.prompts), 'prompt')}, {counted(results.settings.samples, 'sample')} of each"
    out_file.write(path, page(figure(results), title, subtitle, "\n".join(about)), "--html")


def figure(results: Results) -> Any:
    """Return a plotly figure with a panel for each measure: the models' means with their 95% intervals."""
    from plotly.subplots import make_subplots

    measures = [m for m in (*results.grades, *results.counts) if not np.isnan(m.values).all()]
    panel = _PANEL_PIXELS + _ROW_PIXELS * len(results.authors)
    rows = -(-len(measures) // 2)
    plot = make_subplots(
        rows=rows,
        cols=2,
        subplot_titles=[m.name for m in measures],
        shared_yaxes=True,
        vertical_spacing=45 / (panel * rows),
        horizontal_spacing=0.04,
    )
    for place, measure in enumerate(measures):
        plot.add_trace(_marks(results, measure), row=place // 2 + 1, col=place % 2 + 1)
        plot.update_xaxes(tickformat=measure.form, row=place // 2 + 1, col=place % 2 + 1)
    plot.update_yaxes(autorange="reversed")
    plot.update_layout(template=template(), height=60 + panel * rows, showlegend=False, margin={"t": 40})
    return plot


def _marks(results: Results, measure: Measure) -> Any:
    import plotly.graph_objects as go

    found = [(i, m) for i in results.order if (m := mean(measure.values[i])) is not None]
    names: Sequence[str] = [plain(results.authors[i].name) for i, _ in found]
    halves = [m.half_width or 0.0 for _, m in found]
    return go.Scatter(
        x=[m.value for _, m in found],
        y=names,
        error_x={"type": "data", "array": halves},
        mode="markers",
        marker={"size": 9, "color": COLOURS[0 if any(measure is m for m in results.grades) else 2]},
        hovertemplate="%{y}: %{x}<extra></extra>",
    )
