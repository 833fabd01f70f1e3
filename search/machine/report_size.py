"""How much text the reports of a study measure: the same for all its trials, settled once."""

from typing import Any

import torch

from model.data.corpus import Corpus
from model.errors import SettingsError
from model.training.report_size import Shape, evaluation_tokens_per_second, report_bytes
from search.study.parameter import Parameter
from search.study.plan import Plan
from search.study.space import SECTION_OF
from search.study.study import REPORT_BYTES, LinkedStudy, agree, known_report_bytes


def agree_on_report_bytes(study: LinkedStudy, corpus: Corpus, device: torch.device) -> int:
    """Return the bytes of a report: the study file's, or what the first worker measured, rounded to a power of two."""
    given = known_report_bytes(study.plan, study.proxy_attributes())
    return given or int(agree(study, REPORT_BYTES, str(measured(study.plan, corpus, device))))


def measured(plan: Plan, corpus: Corpus, device: torch.device) -> int:
    """Return the bytes that reports can afford on this device."""
    usual = usual_shape(plan)
    return report_bytes(
        usual,
        largest_shape(plan),
        tokens_per_second=evaluation_tokens_per_second(usual, device),
        bytes_per_token=corpus.validation.bytes_per_token,
        budget_seconds=plan.proxy.budget_seconds,
    )


def usual_shape(plan: Plan) -> Shape:
    """Return the first baseline's network; without one, that of the middle of each range."""
    for params in plan.baselines.values():
        return _shape(plan, dict(params))
    return _shape(plan, {name: _at(parameter, 0.5) for name, parameter in _of_network(plan)})


def largest_shape(plan: Plan) -> Shape:
    """Return the network of the highest value of each searched number."""
    return _shape(plan, {name: _at(parameter, 1.0) for name, parameter in _of_network(plan)})


def _of_network(plan: Plan) -> list[tuple[str, Parameter]]:
    searched = plan.space.parameters.items()
    return [(name, p) for name, p in searched if SECTION_OF[name] in ("model", "tokenizer")]


def _at(parameter: Parameter, share: float) -> Any:
    """Return the value so far up a range; of choices that are no numbers, the first."""
    if parameter.choices is not None:
        numbers = all(type(c) in (int, float) for c in parameter.choices)
        ordered = sorted(parameter.choices, key=float) if numbers else parameter.choices[:1]
        return ordered[round(share * (len(ordered) - 1))]
    size = parameter.size
    if size is not None:
        return parameter.at(round(share * (size - 1)))
    assert parameter.low is not None
    assert parameter.high is not None
    return parameter.low + share * (parameter.high - parameter.low)


def _shape(plan: Plan, params: dict[str, Any]) -> Shape:
    """Return the network of these values; the study's fixed ones where together they are none."""
    try:
        configuration = plan.configuration(params)
    except SettingsError:
        configuration = plan.configuration({})
    return configuration.model, configuration.tokenizer.vocab_size
