"""What is rented, by hand; the scripts, run; the task and the Job, read by the programs that they are for."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from search.cloud.rental import Rental, as_yaml, estimate_usd, is_machine_of, launch_name, rental, task
from search.cloud.without_skypilot import bare, kubernetes, slurm
from search.cloud.worker_script import Bundle, Work, workers
from search.common.errors import SearchError
from search.study.cost import registry_of
from search.study.plan import Plan
from search.study.requested import capped
from search.study.study import load_study, open_study
from search.study.study_file import read
from storage.server.database import Database
from tests.conftest import CLI_SECONDS
from tests.forking.client import server
from tests.places import ROOT
from tests.search.tiny import PLAN

BABYLM = capped(read("babylm"), 30.0)
BUNDLE = Bundle(requirement="lilm_search-0.1.0-py3-none-any.whl", constraints=True, ca=True)


def rented(gpu: str = "RTX4090", workers_asked: int = 8, dollars_left: float = 30.0, **more: object) -> Rental:
    return rental(BABYLM, token="3f2a", gpu=gpu, workers_asked=workers_asked, dollars_left=dollars_left, **more)  # type: ignore[arg-type]


def test_a_rental_by_hand() -> None:
    """8 × $0.59 an hour use up $30 in 6.3559 hours, 22,881 s; two to a machine are 4 machines at $1.18."""
    found = rented(gpu="rtx4090:2")
    assert (found.gpu, found.machines, found.work.gpus, found.work.seconds) == ("RTX4090", 4, 2, 22_881)
    assert found.usd_per_hour == pytest.approx(4.72)
    assert found.machine_names() == [f"lilm-babylm-3f2a-{i}" for i in (1, 2, 3, 4)]
    assert task(found, "m", BUNDLE, "/x")["resources"]["max_hourly_cost"] == 1.18
    assert rented(hours=2).work.seconds == 7200
    assert rented(price=0.34).work.usd_per_hour == 0.34


def test_the_estimate_by_hand() -> None:
    """Proxies end after 10 hours of all their time; 14 × 30 min have 15% of start-up and evaluation more, at $0.59.

    Without that limit 100 × 6 min are 15% more too; with one of $5 for the long runs these are no dearer.
    """
    assert estimate_usd(BABYLM, 0.59) == pytest.approx((10 + 7 * 1.15) * 0.59)
    counted = replace(BABYLM, proxy=replace(BABYLM.proxy, max_hours=0.0, trials=100))
    assert estimate_usd(counted, 0.59) == pytest.approx(17 * 1.15 * 0.59)
    capped = replace(counted, confirm=replace(counted.confirm, max_usd=4.0))
    assert estimate_usd(capped, 0.59) == pytest.approx(10 * 1.15 * 0.59 + 4)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"gpu": "RTX4900"}, "did you mean RTX4090"),
        ({"gpu": "RTX4090:3"}, "--workers is 8, but must be a multiple of 3"),
        ({"hours": 7}, "use up \\$30.00 in 6.36 hours"),
        ({"dollars_left": 0.1}, "less than one trial of 6m"),
        ({"dollars_left": 0.0}, "\\$0 are left; give --price and --max-usd"),
        ({"price": 0.0}, "an hour of a GPU costs \\$0"),
    ],
)
def test_what_can_not_be_rented_is_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(SearchError, match=says):
        rented(**given)  # type: ignore[arg-type]


def test_names_are_short_and_tell_studies_apart() -> None:
    name = launch_name("a_study-with-a-name-of-sixty-characters-which-is-much-too-long", "3f2a")
    assert len(f"{name}-512") <= 32  # a credential's name, and below every cloud's limit
    assert is_machine_of("babylm", "lilm-babylm-3f2a-12")
    for other in ("lilm-babylm-x-3f2a-1", "lilm-babylm-3f2a", "other", "lilm-babylm-3f2a-1-3f2a-1"):
        assert not is_machine_of("babylm", other)


def test_no_secret_is_in_a_task() -> None:
    shown = task(rented(), "m", BUNDLE, "/x")
    assert shown["secrets"] == {"LILM_SEARCH_STORAGE": None}
    assert "postgresql" not in as_yaml(shown)


def test_a_shared_key_is_handed_over_as_the_credential_is(tmp_path: Path) -> None:
    """In the environment by SkyPilot, else from private files: the written commands are run, in a plain shell."""
    bundle = replace(BUNDLE, compiled_key=True)
    names = {"LILM_SEARCH_STORAGE", "LILM_SEARCH_COMPILED_KEY"}
    assert task(rented(), "m", bundle, "/x")["secrets"] == dict.fromkeys(names)
    (tmp_path / "worker.url").write_text("# a note\npostgresql://box-1@localhost/x\n")
    (tmp_path / "compiled.key").write_text("# a note\n0123456789abcdef\n")
    for command in (bare(rented(), bundle), slurm(rented(), bundle)):
        (read,) = re.findall(r"LILM_SEARCH_STORAGE=\"\$\(.*?export LILM_SEARCH_COMPILED_KEY\b", command)
        done = subprocess.run(["sh", "-c", f"{read}; env"], cwd=tmp_path, capture_output=True, text=True, check=True)
        lines = done.stdout.splitlines()
        assert "LILM_SEARCH_STORAGE=postgresql://box-1@localhost/x" in lines
        assert "LILM_SEARCH_COMPILED_KEY=0123456789abcdef" in lines
    job = kubernetes(rented(), bundle, "image")
    assert "--from-file=worker.url --from-file=compiled.key --from-file=ca.pem" in job.splitlines()[0]
    (container,) = yaml.safe_load(job)["spec"]["template"]["spec"]["containers"]
    assert "/run/secrets/lilm-search/compiled.key)" in container["command"][-1]
    assert not names & {e["name"] for e in container["env"]}


SKY = os.environ.get("LILM_SEARCH_SKY") or shutil.which("sky")
READ_TASK = """
import json, sys, yaml, sky
task = sky.Task.from_yaml_config(yaml.safe_load(sys.stdin))
task.expand_and_validate_file_mounts()
print(json.dumps([[str(r.cloud), r.accelerators, r.use_spot, r.max_hourly_cost, r.autostop_config.down,
                   r.autostop_config.idle_minutes] for r in task.resources]))
"""


@pytest.mark.skipif(not SKY, reason="SkyPilot is not installed; LILM_SEARCH_SKY names its program")
def test_skypilot_takes_the_task(tmp_path: Path) -> None:
    text = as_yaml(task(rented(clouds=("runpod", "vast"), spot=True), "lilm-babylm-3f2a-1", BUNDLE, str(tmp_path)))
    env = {**os.environ, "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    python = Path(str(SKY)).resolve().parent / "python"
    done = subprocess.run([python, "-c", READ_TASK], input=text, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    wanted = [[cloud, {"RTX4090": 1}, True, 0.59, True, 5] for cloud in ("RunPod", "Vast")]
    assert sorted(json.loads(done.stdout.splitlines()[-1])) == wanted


def test_the_job_is_one_that_ends_and_reads_its_secret_from_a_file() -> None:
    text = kubernetes(rented(), BUNDLE, "registry.example.org/lilm-search:1")
    job = yaml.safe_load(text)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (job["apiVersion"], job["kind"], job["spec"]["completions"], job["spec"]["parallelism"]) == (
        *("batch/v1", "Job"),
        *(8, 8),
    )
    assert job["spec"]["activeDeadlineSeconds"] == 22_881
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert pod["volumes"][0]["secret"]["secretName"] == job["metadata"]["name"]
    assert job["metadata"]["name"] in text.splitlines()[0]
    assert not any(e["name"] == "LILM_SEARCH_STORAGE" for e in container["env"])


def machine(folder: Path, lilm_search: str) -> Path:
    """A folder as on a machine on which lilm-search is installed already: this text is its program."""
    program = folder / "venv" / "bin" / "lilm-search"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{lilm_search}\n")
    program.chmod(0o755)
    (folder / "sleep").write_text('#!/bin/sh\necho "$@" >> pauses\n')  # pauses between restarts take no time
    (folder / "sleep").chmod(0o755)
    return folder


def run(folder: Path, script: str, **env: str) -> "subprocess.CompletedProcess[str]":
    settings = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **env}
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=settings, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize(
    ("program", "gpus", "code", "starts"),
    [
        ("exit 0", 2, 0, 2),  # nothing left: one start on each of two GPUs
        ("exit 1", 1, 1, 1),  # refused
        ("exit 2", 1, 2, 1),  # called wrongly
        ("exit 70", 1, 70, 4),  # a fault of ours
        ("exit 71", 1, 71, 4),  # the GPU can't go on in this process, nor in the next ones
        ("[ $(wc -l < starts) -ge 2 ] || exit 71", 1, 0, 2),  # in the next one it can
        ("kill -9 $$", 1, 137, 4),  # crashes for ever: started again three times
        ("[ $(wc -l < starts) -ge 3 ] || kill -9 $$", 1, 0, 3),  # crashes twice
        ("exec /bin/sleep 100", 1, 124, 1),  # hangs: ended with its time
    ],
)
def test_workers_are_started_again_after_a_crash_and_ended_with_their_time(
    tmp_path: Path, program: str, gpus: int, code: int, starts: int
) -> None:
    machine(tmp_path, f'echo "$@" >> starts\n{program}')
    seconds = 1 if "sleep" in program else 600
    done = run(tmp_path, workers(Work(study="s", gpus=gpus, seconds=seconds, usd_per_hour=1)))
    assert done.returncode == code, done.stderr
    begun = sorted((tmp_path / "starts").read_text().splitlines())
    assert begun == sorted(f"worker --study s --device cuda:{i % gpus}" for i in range(starts))


def test_a_worker_whose_database_is_away_comes_again_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    machine(tmp_path, "echo up >> starts\n[ $(wc -l < starts) -ge 8 ] || exit 75")
    done = run(tmp_path, workers(Work(study="s", gpus=1, seconds=6000, usd_per_hour=1)))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pauses").read_text().split() == ["30", "60", "120", "240", "480", "600", "600"]
    assert "ended with 75; starting it again in 480 s (5 of 12)" in done.stdout


def test_a_database_that_stays_away_ends_it(tmp_path: Path) -> None:
    machine(tmp_path, "echo up >> starts\nexit 75")
    assert run(tmp_path, workers(Work(study="s", gpus=1, seconds=6000, usd_per_hour=1))).returncode == 75
    assert len((tmp_path / "starts").read_text().split()) == 13


def test_a_machines_notice_reaches_a_pause(tmp_path: Path) -> None:
    machine(tmp_path, "echo up >> starts\nexit 75")
    (tmp_path / "sleep").unlink()
    script = workers(Work(study="s", gpus=1, seconds=6000, usd_per_hour=1))
    with subprocess.Popen(["bash", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert "starting it again in 30 s" in shell.stdout.readline()
        shell.send_signal(signal.SIGTERM)
        assert shell.wait(timeout=20) == 124
    assert (tmp_path / "starts").read_text().split() == ["up"]


def test_a_machines_notice_reaches_its_workers(tmp_path: Path) -> None:
    """A worker that is told to stop ends by itself, and isn't started again."""
    told = "trap 'echo told >> starts; exit 0' TERM; echo up >> starts; echo up; while :; do /bin/sleep 0.05; done"
    machine(tmp_path, told)
    script = workers(Work(study="s", gpus=1, seconds=600, usd_per_hour=1))
    with subprocess.Popen(["bash", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "up\n"
        shell.send_signal(signal.SIGTERM)
        shell.wait(timeout=CLI_SECONDS)
    assert (tmp_path / "starts").read_text().splitlines() == ["up", "told"]


SIGNAL_BEFORE = """
set -T  # functions and subshells run the trap before each command, too
count=0
trap '[ "$BASH_SUBSHELL" != {level} ] || {{
  count=$(( count + 1 ))
  [ "$count" != {number} ] || {{ echo "$BASH_COMMAND" > interrupted; kill -TERM "$BASHPID"; }}
}}' DEBUG
"""
UNTIL_TOLD = "#!/bin/sh\ntrap 'exit 0' TERM\nfor i in $(seq 400); do /bin/sleep 0.05; done; echo missed >> missed\n"


@pytest.mark.parametrize(
    ("level", "crashes", "waits"),
    [
        (0, False, 'wait "$member"'),  # the signal comes to the shell that starts all workers
        (1, False, 'wait "$worker"'),  # … to that of one worker
        (1, True, 'wait "$worker" again'),  # … which crashed, so that a pause comes next
    ],
)
def test_a_notice_reaches_its_workers_whenever_it_comes(tmp_path: Path, level: int, crashes: bool, waits: str) -> None:
    """The signal comes before each command of the script in turn, until it waits for what it has started."""
    machine(tmp_path, "exit 70")
    for program in ("sleep",) if crashes else ("sleep", "venv/bin/lilm-search"):
        (tmp_path / program).write_text(UNTIL_TOLD)
    script = workers(Work(study="s", gpus=2 - level, seconds=600, usd_per_hour=1))
    interrupted: list[str] = []
    while waits not in interrupted:
        run(tmp_path, SIGNAL_BEFORE.format(level=level, number=len(interrupted) + 1) + script)
        command = (tmp_path / "interrupted").read_text().strip()
        assert not (tmp_path / "missed").exists(), f"a signal before `{command}` reached nothing"
        interrupted.append(f"{command} again" if command in interrupted else command)
    assert any(command.startswith(("worker=$!", "crew=")) for command in interrupted)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_bare_line_and_slurm_script_run_as_written(database: Database, database_url: str, home: Path) -> None:
    """Both at once, on a machine without a GPU, with a study of one trial: one trains it, both end well."""
    text = PLAN.replace("trials = 7", "trials = 1").replace("top = 1", "top = 0").split("[baselines")[0]
    plan = Plan.parse(text + "[cost]\nusd_per_gpu_hour = 0.1\nmax_usd = 1\n", name="tiny", origin="a test")
    open_study(database, plan)
    folder = machine(
        home / "machine",
        f'PYTHONPATH={ROOT} exec {sys.executable} -m tests.forking.command {server()} "$@" --threads 1',
    )
    (folder / "worker.url").write_text(f"# a credential\n{database_url}\n")
    (folder / "home").symlink_to(home)
    cpu = rental(plan, token="3f2a", gpu="cpu", workers_asked=2, dollars_left=1.0)
    bundle = replace(BUNDLE, ca=False)
    array = subprocess.Popen(
        ["bash", "-c", slurm(cpu, bundle)], cwd=folder, env={**os.environ, "SLURM_ARRAY_TASK_ID": "2"}
    )
    done = run(folder, bare(cpu, bundle))
    assert done.returncode == 0, done.stderr
    assert array.wait(timeout=240) == 0
    study = load_study(database, "tiny")
    found = registry_of(study).workers()
    assert {e.launch for e in found} == {"lilm-tiny-3f2a", "lilm-tiny-3f2a-2"}
    assert {(e.state, e.usd_per_hour) for e in found} == {("ended", 0.1)}
    (trial,) = study.proxy_trials()
    assert trial.state.name == "COMPLETE"
    assert trial.user_attrs["worker"] in {e.name for e in found}


@pytest.mark.parametrize("form", ["bare", "slurm"])
def test_without_its_credential_nothing_runs(tmp_path: Path, form: str) -> None:
    """Else a worker would look into an embedded database of its own."""
    machine(tmp_path, "echo ran >> starts")
    text = (bare if form == "bare" else slurm)(rented(), BUNDLE)
    assert run(tmp_path, text, SLURM_ARRAY_TASK_ID="1").returncode != 0
    assert not (tmp_path / "starts").exists()


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_the_scripts_pass_shellcheck() -> None:
    work = task(rented(gpu="RTX4090:2"), "m", BUNDLE, "/x")
    for shell, text in (
        ("bash", slurm(rented(gpu="RTX4090:2"), BUNDLE)),
        ("sh", bare(rented(), BUNDLE)),
        ("bash", work["setup"]),
        ("bash", work["run"]),
    ):
        found = subprocess.run(
            ["shellcheck", "--shell", shell, "--exclude", "SC2164,SC2016", "-"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stdout
