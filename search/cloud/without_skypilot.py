"""The same work for machines that SkyPilot doesn't rent: a command line, a Kubernetes Job, a Slurm array."""

import shlex

from search.cloud.rental import Rental, scalar
from search.cloud.worker_script import CA_FILE, RESTARTS, Bundle, install, workers
from search.common.templates import fill


def _read_secrets(bundle: Bundle, folder: str = "") -> str:
    """Return commands that read the secrets from private files, which `ps` doesn't show."""
    return " && ".join(
        f"{name}=\"$(grep -v '^#' {folder}{file})\" && export {name}" for name, file in bundle.secrets.items()
    )


def bare(rental: Rental, bundle: Bundle) -> str:
    """Return one command, to be run in the folder of the bundle and the credential."""
    work = rental.work
    device = "cuda" if work.gpus else "cpu"
    ca = f' LILM_SEARCH_CA="$PWD/{CA_FILE}"' if bundle.ca else ""
    set_up = f"sh -ec {shlex.quote(install(bundle, min(work.gpus, 1)))}"
    worker = f"worker --study {work.study} --device {device}"
    return (
        f"umask 077; {set_up} && {_read_secrets(bundle)} && "
        f'LILM_SEARCH_HOME="$PWD/home" LILM_SEARCH_LAUNCH={rental.name} LILM_SEARCH_USD_PER_HOUR={work.usd_per_hour:g}'
        f"{ca} timeout --kill-after=60 {work.seconds} venv/bin/lilm-search {worker}\n"
    )


def slurm(rental: Rental, bundle: Bundle) -> str:
    """Return an array's script, to be submitted in the folder of the bundle and the credential."""
    minutes = -(-rental.work.seconds // 60) + 2
    return fill(
        __package__,
        "slurm.sh.j2",
        rental=rental,
        time=f"{minutes // 60}:{minutes % 60:02d}:00",
        install=install(bundle, rental.work.gpus),
        read_secrets=_read_secrets(bundle),
        price=f"{rental.work.usd_per_hour:g}",
        ca_file=CA_FILE if bundle.ca else None,
        workers=workers(rental.work),
    )


def kubernetes(rental: Rental, bundle: Bundle, image: str) -> str:
    """Return a Job whose secret is made from the credential's file."""
    work, secret = rental.work, "/run/secrets/lilm-search"
    command = f"{_read_secrets(bundle, f'{secret}/')} && exec lilm-search worker --study {work.study}"
    command += f" --device {'cuda' if work.gpus else 'cpu'}"
    return fill(
        __package__,
        "kubernetes.yaml.j2",
        rental=rental,
        count=rental.machines * max(1, work.gpus),
        restarts=RESTARTS,
        image=image,
        command=command,
        price=f"{work.usd_per_hour:g}",
        secret=secret,
        ca_file=CA_FILE if bundle.ca else None,
        files=" ".join(f"--from-file={name}" for name in (*bundle.secrets.values(), *([CA_FILE] if bundle.ca else []))),
        scalar=scalar,
    )
