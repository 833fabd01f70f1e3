"""Exports: the best confirmed configurations with their evidence, as TOML, JSON, YAML or a Python script."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
import yaml
from optuna.trial import FrozenTrial

from search.analysis.anonymize import anonymous_caveats
from search.analysis.forecast import proxies_to_come
from search.analysis.snapshot import Snapshot
from search.common import out_file
from search.common.errors import SearchError
from search.common.next_commands import command
from search.export.reader import LIST
from search.export.script import script
from search.machine.admission import budget_hardware
from search.machine.provenance import without_host
from search.study.estimate import Estimate
from search.study.results import Confirmed, Noise, Significance, ended_on, lead
from search.study.scores import scores_of
from search.study.study import LinkedStudy
from search.study.trials import attributes_of

PAIRS = "minimal_pairs"
"""Key of the scores on minimal pairs, beside the BPB in `result` and in every baseline."""
FORMATS = ("toml", "json", "yaml", "python")


def best_export(snapshot: Snapshot) -> dict[str, Any]:
    """Return the best confirmed configuration with everything needed to train it again elsewhere.

    Baselines are ranked too, so that the export is never worse than what was made by hand. Raises `SearchError` if
    nothing is confirmed yet.
    """
    return configuration_export(snapshot, confirmed_configurations(snapshot)[0])


def top_export(snapshot: Snapshot, top: int) -> dict[str, Any]:
    """Return the best `top` confirmed configurations, each as `best_export` returns it, with its rank."""
    ranked = enumerate(confirmed_configurations(snapshot)[:top], start=1)
    return {
        "study": snapshot.plan.name,
        LIST: [{"rank": r, **configuration_export(snapshot, entry)} for r, entry in ranked],
    }


def confirmed_configurations(snapshot: Snapshot) -> Sequence[Confirmed]:
    """Return all confirmed configurations, the best first; raises `SearchError` if there is none."""
    configurations, plan = snapshot.confirmed, snapshot.plan
    if not configurations and plan.is_grid and not plan.confirmations:
        raise SearchError(f'"{plan.name}" is a sweep: nothing in it is confirmed; `lilm-search sweep` shows it')
    if not configurations:
        raise SearchError(
            f'nothing is confirmed yet in "{plan.name}"; `{command("start", study=plan.name)}` goes on with it'
        )
    return configurations


def configuration_export(snapshot: Snapshot, entry: Confirmed) -> dict[str, Any]:
    """Return a confirmed configuration's export: its evidence, and all that is needed to train it again."""
    noise, configurations = snapshot.noise, snapshot.confirmed
    baselines = [_evidence(c, snapshot.estimates[c.key]) | {"name": c.baseline} for c in configurations if c.baseline]
    return {
        "study": snapshot.plan.name,
        "configuration": entry.label,
        "budget": snapshot.plan.confirm.budget,
        "parameters": dict(entry.params),
        "result": _evidence(entry, snapshot.estimates[entry.key])
        | {
            "better_than_baseline": better_than_baseline(entry, configurations, noise),
            **noise_table(noise, "long runs"),
        }
        | _confirmation_day(snapshot, entry),
        "baselines": baselines,
        "transfer": snapshot.transfer.verdict,
        "warnings": _still_to_come(snapshot) + _caveat_sentences(snapshot),
        **to_train_again(snapshot.study, entry.params, entry.runs[0]),
    }


def to_train_again(study: LinkedStudy, params: Mapping[str, Any], run: FrozenTrial) -> dict[str, Any]:
    """Return the keys of an export by which it is trained again: text, settings, hardware, versions."""
    machine = budget_hardware(study, run)
    return {
        "data": study.plan.data.table(),
        **study.plan.configuration(params).table(),
        **({"hardware": machine.table()} if machine else {}),
        "provenance": without_host(attributes_of(run).provenance),
    }


def noise_table(noise: Noise, measured_on: str) -> dict[str, Any]:
    """Return the key `seed_noise`: the noise and the kind of runs it was measured on; empty if it isn't known."""
    table = {"deviation": noise.deviation, "degrees": noise.degrees, "of": measured_on}
    return {} if noise.deviation is None else {"seed_noise": table}


def mean_speed(runs: Sequence[FrozenTrial]) -> float | None:
    """Return the mean of the runs' tokens per second; None if no run recorded it."""
    speeds = [speed for t in runs if (speed := attributes_of(t).tokens_per_second) is not None]
    return sum(speeds) / len(speeds) if speeds else None


def _still_to_come(snapshot: Snapshot) -> list[str]:
    """Return a warning if runs are still to come, since the exported configuration may not stay the best."""
    proxies = proxies_to_come(snapshot)
    proxies += sum(not t.state.is_finished() for t in snapshot.proxies)
    runs = sum(not t.state.is_finished() for t in snapshot.runs)
    if proxies or runs:
        return [f"the study is not finished: proxies still to come {proxies}, long runs waiting or running {runs}."]
    race = snapshot.race.due_runs.decision if snapshot.plan.confirmations else None
    return [] if race is None or race.over else [f"the race is not over: {race.state}."]


def _caveat_sentences(snapshot: Snapshot) -> list[str]:
    """Return the caveats without names of hosts, since an export is read by others."""
    return [c.sentence for c in anonymous_caveats(snapshot)]


def _evidence(entry: Confirmed, estimate: Estimate) -> dict[str, Any]:
    seeds = sorted(entry.bpb_by_seed)
    table: dict[str, Any] = {
        "val_bpb": estimate.bpb,
        "interval_95": _bounds(estimate.bpb, estimate.half_width),
        "new_run_95": _bounds(estimate.bpb, estimate.new_run_half_width),
        "mean_bpb": entry.mean_bpb,
        "seeds": seeds,
        "bpb_by_seed": [entry.bpb_by_seed[s] for s in seeds],
        "tokens_per_second": mean_speed(entry.runs),
        "proxy_bpb": entry.proxy_bpb,
    }
    if scores := scores_of(entry.runs):
        table[PAIRS] = scores.summary()
    return {k: v for k, v in table.items() if v is not None}


def _bounds(middle: float, half_width: float | None) -> list[float] | None:
    return None if half_width is None else [middle - half_width, middle + half_width]


def _confirmation_day(snapshot: Snapshot, entry: Confirmed) -> dict[str, str]:
    day = ended_on(entry.runs, snapshot.last_signs)
    return {"confirmed_on": day.isoformat()} if day else {}


def better_than_baseline(entry: Confirmed, configurations: Sequence[Confirmed], noise: Noise) -> str:
    """Return whether a configuration beats the best baseline: yes, no, not proven or unknown, and why."""
    baselines = [c for c in configurations if c.baseline]
    if entry.baseline and entry is configurations[0]:
        searched = any(not c.baseline for c in configurations)
        verdict = "the search found nothing better" if searched else "no searched configuration is confirmed"
        return f"no: the hand-made baseline is best; {verdict}"
    if entry.baseline:
        return "no: this is a hand-made baseline"
    if not baselines:
        return "unknown: no baseline has been confirmed"
    comparison, baseline_name = lead(entry, baselines[0], noise), baselines[0].baseline
    if comparison.by_failure:
        worse = entry if entry.failed else baselines[0]
        return f"{'no' if entry.failed else 'yes'}: {worse.label} failed in some of its long runs, and ranks behind"
    if comparison.gap < 0:
        return f"no: worse by {-comparison.gap:.4f} BPB than {baseline_name}"
    if comparison.proven:
        return f"yes: by {comparison.gap:.4f} BPB over {baseline_name}"
    noise_known = comparison.significance is not Significance.NOT_KNOWN
    why = "which is within the noise of its seeds" if noise_known else "but noise is not known yet"
    return f"not proven: by {comparison.gap:.4f} BPB over {baseline_name}, {why}"


def render(table: Mapping[str, Any], form: str) -> str:
    """Return an export as text in one of `FORMATS`; raises `SearchError` for any other format."""
    if form == "toml":
        return tomli_w.dumps(table)
    if form == "json":
        return json.dumps(table, indent=2) + "\n"
    if form == "yaml":
        return yaml.safe_dump(dict(table), sort_keys=False)
    if form != "python":
        raise SearchError(f'--format is "{form}", but must be one of {", ".join(FORMATS)}')
    if LIST in table:
        raise SearchError('--format is "python", which holds one configuration; leave out --top, or choose another')
    return script(table, claim_line(table))


def write(path: Path, table: Mapping[str, Any], form: str) -> None:
    """Write an export as `render` returns it, completely or not at all; raises `SearchError` if it can't be written."""
    out_file.write(path, render(table, form))


def claim_line(table: Mapping[str, Any]) -> str:
    """Return an export's result on one line: configuration, BPB, seeds, interval, budget."""
    result = table["result"]
    bounds = result.get("interval_95")
    interval = f", 95% interval {bounds[0]:.4f} … {bounds[1]:.4f}" if bounds else ""
    runs = runs_text(result)
    label = f"{table['study']}, {table['configuration']}"
    return f"{label}: {result['val_bpb']:.4f} BPB, {runs}{interval}; budget {table['budget']}."


def runs_text(result: Mapping[str, Any]) -> str:
    """Return in words the runs that a stated BPB comes from, and their mean where the BPB is an estimate beside it."""
    seeds, mean = len(result["seeds"]), result.get("mean_bpb", result["val_bpb"])
    if mean == result["val_bpb"]:
        return f"mean of {seeds} seeds" if seeds > 1 else "one seed"
    return f"estimated from {f'{seeds} seeds, whose mean is' if seeds > 1 else 'one seed, which had'} {mean:.4f}"
