"""The best confirmed configurations with their evidence, as TOML, JSON, YAML or Python, and back again."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
import yaml
from optuna.trial import FrozenTrial

from search.analysis.anonymize import anonymous_caveats
from search.analysis.snapshot import Snapshot
from search.common import out_file
from search.common.errors import SearchError
from search.common.next_commands import command
from search.export.reader import LIST
from search.export.script import script
from search.machine.admission import budget_hardware
from search.machine.provenance import without_host
from search.study.results import Confirmed, Noise, Significance, ended_on, lead
from search.study.study import LinkedStudy
from search.study.trials import attributes_of

FORMATS = ("toml", "json", "yaml", "python")


def best_export(facts: Snapshot) -> dict[str, Any]:
    """Return the best confirmed configuration with everything needed to train it again elsewhere.

    Baselines take part: what is exported is never worse than by hand. Raises `SearchError` when nothing has
    been confirmed yet.
    """
    return entry_export(facts, found_in(facts)[0])


def top_export(facts: Snapshot, top: int) -> dict[str, Any]:
    """Return the best confirmed configurations, at most so many, each as `best_export` has it, with its rank."""
    ranked = enumerate(found_in(facts)[:top], start=1)
    return {"study": facts.plan.name, LIST: [{"rank": r, **entry_export(facts, entry)} for r, entry in ranked]}


def found_in(facts: Snapshot) -> Sequence[Confirmed]:
    """Return every confirmed configuration, the best first; raises `SearchError` where there is none."""
    found, plan = facts.confirmed, facts.plan
    if not found and plan.is_grid and not plan.confirmations:
        raise SearchError(f'"{plan.name}" is a sweep: nothing in it is confirmed; `lilm-search sweep` shows it')
    if not found:
        raise SearchError(
            f'nothing is confirmed yet in "{plan.name}"; `{command("start", study=plan.name)}` goes on with it'
        )
    return found


def entry_export(facts: Snapshot, entry: Confirmed) -> dict[str, Any]:
    """Return one of the confirmed configurations, with its evidence and all that training it again needs."""
    pooled, found = facts.noise, facts.confirmed
    baselines = [_evidence(c, pooled) | {"name": c.baseline} for c in found if c.baseline]
    return {
        "study": facts.plan.name,
        "configuration": entry.label,
        "budget": facts.plan.confirm.budget,
        "parameters": dict(entry.params),
        "result": _evidence(entry, pooled)
        | {"better_than_baseline": better_than_baseline(entry, found, pooled), **noise_table(pooled, "long runs")}
        | _day(facts, entry),
        "baselines": baselines,
        "transfer": facts.transfer.verdict,
        "warnings": _unfinished(facts) + _doubts(facts),
        **to_train_again(facts.study, entry.params, entry.runs[0]),
    }


def to_train_again(study: LinkedStudy, params: Mapping[str, Any], run: FrozenTrial) -> dict[str, Any]:
    """Return what training a configuration again needs: text, settings, the hardware of its budget, versions."""
    machine = budget_hardware(study, run)
    return {
        "data": study.plan.data.table(),
        **study.plan.configuration(params).table(),
        **({"hardware": machine.table()} if machine else {}),
        "provenance": without_host(attributes_of(run).provenance),
    }


def noise_table(pooled: Noise, of: str) -> dict[str, Any]:
    """Return the noise from seed to seed and what it was measured on; nothing where it isn't known."""
    known = {"deviation": pooled.deviation, "degrees": pooled.degrees, "of": of}
    return {} if pooled.deviation is None else {"seed_noise": known}


def mean_speed(runs: Sequence[FrozenTrial]) -> float | None:
    """Return the runs' mean tokens/s."""
    known = [speed for t in runs if (speed := attributes_of(t).tokens_per_second) is not None]
    return sum(known) / len(known) if known else None


def _unfinished(facts: Snapshot) -> list[str]:
    """Say what is still to come, since what is exported now may not stay the best."""
    proxies = max(0, facts.plan.proxy.trials - facts.slots)
    proxies += sum(not t.state.is_finished() for t in facts.proxies)
    runs = sum(not t.state.is_finished() for t in facts.runs)
    if proxies or runs:
        return [f"the study is not finished: proxies still to come {proxies}, long runs waiting or running {runs}."]
    race = facts.race.due_runs.decision if facts.plan.confirmations else None
    return [] if race is None or race.over else [f"the race is not over: {race.state}."]


def _doubts(facts: Snapshot) -> list[str]:
    """Return what should not be trusted blindly, with no host's name: an export is for others."""
    return [c.sentence for c in anonymous_caveats(facts)]


def _evidence(entry: Confirmed, pooled: Noise) -> dict[str, Any]:
    half = pooled.half_width(entry.seeds)
    seeds = sorted(entry.bpb_by_seed)
    table: dict[str, Any] = {
        "val_bpb": entry.mean_bpb,
        "interval_95": None if half is None else [entry.mean_bpb - half, entry.mean_bpb + half],
        "seeds": seeds,
        "bpb_by_seed": [entry.bpb_by_seed[s] for s in seeds],
        "tokens_per_second": mean_speed(entry.runs),
        "proxy_bpb": entry.proxy_bpb,
    }
    return {k: v for k, v in table.items() if v is not None}


def _day(facts: Snapshot, entry: Confirmed) -> dict[str, str]:
    day = ended_on(entry.runs, facts.last_signs)
    return {"confirmed_on": day.isoformat()} if day else {}


def better_than_baseline(entry: Confirmed, found: Sequence[Confirmed], pooled: Noise) -> str:
    """Return whether it is better than what was made by hand: yes, no, not proven or unknown, and why."""
    baselines = [c for c in found if c.baseline]
    if entry.baseline and entry is found[0]:
        searched = any(not c.baseline for c in found)
        verdict = "the search found nothing better" if searched else "no searched configuration is confirmed"
        return f"no: the hand-made baseline is best; {verdict}"
    if entry.baseline:
        return "no: this is a hand-made baseline"
    if not baselines:
        return "unknown: no baseline has been confirmed"
    ahead, over = lead(entry, baselines[0], pooled), baselines[0].baseline
    if ahead.by_failure:
        worse = entry if entry.failed else baselines[0]
        return f"{'no' if entry.failed else 'yes'}: {worse.label} failed in some of its long runs, and ranks behind"
    if ahead.gap < 0:
        return f"no: worse by {-ahead.gap:.4f} BPB than {over}"
    if ahead.proven:
        return f"yes: by {ahead.gap:.4f} BPB over {over}"
    known = ahead.significance is not Significance.NOT_KNOWN
    why = "which is within the noise of its seeds" if known else "but noise is not known yet"
    return f"not proven: by {ahead.gap:.4f} BPB over {over}, {why}"


def render(table: Mapping[str, Any], form: str) -> str:
    """Return the table as text in one of `FORMATS`; raises `SearchError` on another."""
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
    """Write the table as `render` has it, at once or not at all; raises `SearchError` where it can't be written."""
    out_file.write(path, render(table, form))


def claim_line(table: Mapping[str, Any]) -> str:
    """Return what an export claims, in a line."""
    result = table["result"]
    bounds = result.get("interval_95")
    sure = f", 95% interval {bounds[0]:.4f} … {bounds[1]:.4f}" if bounds else ""
    of = f"mean of {len(result['seeds'])} seeds" if len(result["seeds"]) > 1 else "one seed"
    named = f"{table['study']}, {table['configuration']}"
    return f"{named}: {result['val_bpb']:.4f} BPB, {of}{sure}; budget {table['budget']}."
