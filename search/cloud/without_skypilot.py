"""The same work for machines that SkyPilot doesn't rent: a command line, a Kubernetes Job, a Slurm array."""

from typing import Any

from search.cloud.rental import Rental, as_yaml
from search.cloud.worker_script import CA_FILE, CREDENTIAL, RESTARTS, STORAGE, Bundle, install, workers

READ_CREDENTIAL = f"{STORAGE}=\"$(grep -v '^#' {{path}})\" && export {STORAGE}"
"""From a private file, which `ps` doesn't show."""


def bare(rental: Rental, bundle: Bundle) -> str:
    """Return one command line, to be run in the folder of the bundle and the credential."""
    work = rental.work
    device = "" if work.gpus else " --device cpu"
    ca = f' LILM_SEARCH_CA="$PWD/{CA_FILE}"' if bundle.ca else ""
    return (
        f"umask 077; ({install(bundle)}) && {READ_CREDENTIAL.format(path=CREDENTIAL)} && "
        f'LILM_SEARCH_HOME="$PWD/home" LILM_SEARCH_LAUNCH={rental.name} LILM_SEARCH_USD_PER_HOUR={work.usd_per_hour:g}'
        f"{ca} timeout --kill-after=60 {work.seconds} venv/bin/lilm-search worker --study {work.study}{device}\n"
    )


def slurm(rental: Rental, bundle: Bundle) -> str:
    """Return an array's script, to be submitted in the folder of the bundle and the credential."""
    work = rental.work
    minutes = -(-work.seconds // 60) + 2
    gres = f"#SBATCH --gres=gpu:{work.gpus}\n" if work.gpus else ""
    ca = f'export LILM_SEARCH_CA="$PWD/{CA_FILE}"\n' if bundle.ca else ""
    return f"""#!/bin/bash
#SBATCH --job-name={rental.name}
#SBATCH --array=1-{rental.machines}
{gres}#SBATCH --time={minutes // 60}:{minutes % 60:02d}:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --output={rental.name}-%a.log
cd "${{SLURM_SUBMIT_DIR:-.}}" || exit 1
umask 077
# The first task installs for all.
flock venv.lock sh -ec '{install(bundle)}' || exit 1
{READ_CREDENTIAL.format(path=CREDENTIAL)} || exit 1
export LILM_SEARCH_HOME="$PWD/home" LILM_SEARCH_USD_PER_HOUR={work.usd_per_hour:g}
export LILM_SEARCH_LAUNCH="{rental.name}-${{SLURM_ARRAY_TASK_ID:?run it with sbatch}}"
{ca}{workers(work)}"""


def kubernetes(rental: Rental, bundle: Bundle, image: str) -> str:
    """Return a Job whose secret is made from the credential's file."""
    work, secret = rental.work, "/run/secrets/lilm-search"
    command = f"{READ_CREDENTIAL.format(path=f'{secret}/{CREDENTIAL}')} && exec lilm-search worker --study {work.study}"
    env: list[dict[str, Any]] = [
        {"name": "LILM_SEARCH_LAUNCH", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LILM_SEARCH_USD_PER_HOUR", "value": f"{work.usd_per_hour:g}"},
        *([{"name": "LILM_SEARCH_CA", "value": f"{secret}/{CA_FILE}"}] if bundle.ca else []),
    ]
    container = {
        "name": "worker",
        "image": image,
        "command": ["sh", "-c", command if work.gpus else f"{command} --device cpu"],
        "env": env,
        "resources": {"limits": {"nvidia.com/gpu": 1}} if work.gpus else {},
        "volumeMounts": [{"name": "credential", "mountPath": secret, "readOnly": True}],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 60,
        "automountServiceAccountToken": False,
        "securityContext": {"fsGroup": 10001},
        "containers": [container],
        "volumes": [{"name": "credential", "secret": {"secretName": rental.name, "defaultMode": 0o440}}],
    }
    count = rental.machines * max(1, work.gpus)
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": rental.name, "labels": {"app": "lilm-search"}},
        "spec": {
            "completions": count,
            "parallelism": count,
            "completionMode": "Indexed",
            "backoffLimit": RESTARTS * count,
            "activeDeadlineSeconds": work.seconds,
            "template": {"metadata": {"labels": {"app": "lilm-search"}}, "spec": pod},
        },
    }
    files = f"--from-file={CREDENTIAL}" + (f" --from-file={CA_FILE}" if bundle.ca else "")
    return f"# first: kubectl create secret generic {rental.name} {files}\n{as_yaml(job)}"
