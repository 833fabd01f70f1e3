"""What a machine runs, as shell text: lilm-search installed, then a worker on each of its GPUs.

The texts are read before they are run, and run where no lilm-search is yet: plain commands, no downloads but pip's.
"""

from dataclasses import dataclass

from search.common.compiled_key import COMPILED_KEY
from search.common.exit_codes import AWAY
from search.common.templates import fill
from search.machine.driver import DEFAULT_CUDA, OLDEST_DRIVER, fallback_build

FOLDER = "lilm-search"
"""Where a rented machine finds what was sent along, below its home."""
STORAGE = "LILM_SEARCH_STORAGE"
CREDENTIAL = "worker.url"
"""The file of a machine's credential: its last line is the URL."""
CA_FILE = "ca.pem"
COMPILED_KEY_NAME = "compiled.key"
"""The file of the key by which workers share compiled graphs, where it is handed over as a file."""
RESTARTS = 3
"""Of a worker that crashes."""
RETURNS = 12
"""Of one that finds the database away, in a row: with their pauses and its own patience, some three hours."""
LONGEST_PAUSE_SECONDS = 600
LONG_SECONDS = 1800
"""A worker that lasted so long had found the database: what came before doesn't count any more."""
INSTALL_MINUTES = 30
MARK = "lilm-search:"
"""Begin of the sentence in which a machine's set-up says why it stops."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What is brought to a machine, by the names of its files there."""

    requirement: str
    """What pip installs: a wheel's file name, or anything else that pip understands."""
    constraints: bool
    """Whether constraints.txt comes along."""
    ca: bool
    """Whether the certificate of the server's authority comes along."""
    compiled_key: bool = False
    """Whether the key by which workers share compiled graphs comes along, as the credential does."""

    @property
    def secrets(self) -> dict[str, str]:
        """The variables of its secrets, each with the name of its file, where it is handed over as a file."""
        return {STORAGE: CREDENTIAL, **({COMPILED_KEY: COMPILED_KEY_NAME} if self.compiled_key else {})}


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a machine works on, for how long, and at what price."""

    study: str
    gpus: int
    """Of the machine, each with a worker of its own."""
    seconds: int
    """After which its workers are ended, hung or not."""
    usd_per_hour: float
    """Of one GPU."""


def install(bundle: Bundle, gpus: int) -> str:
    """Return a script for `sh -e` that installs lilm-search in venv/, if it isn't there yet, and tries the GPUs.

    The build of torch is one that the machine's driver runs. Where a GPU can't be used all the same, the script ends
    with 1 and a sentence that names driver and build: before a worker is started, and so before anything is claimed.
    """
    return fill(
        __package__,
        "install.sh.j2",
        gpus=gpus,
        pins=" --constraint constraints.txt" if bundle.constraints else "",
        requirement=_named(bundle.requirement),
        cuda=DEFAULT_CUDA,
        oldest=OLDEST_DRIVER[DEFAULT_CUDA],
        fallback=fallback_build(),
        mark=MARK,
    )


def _named(requirement: str) -> str:
    """Return a wheel as a path, so that pip doesn't look for a project of that name."""
    return f"./{requirement}" if requirement.endswith(".whl") and "/" not in requirement else requirement


def install_rented(bundle: Bundle, gpus: int) -> str:
    """Return the set-up of a rented machine, whose Python may be too old or lack the headers that compiling needs."""
    fits = (
        "import sys, venv, ensurepip, sysconfig, pathlib; "
        'headers = pathlib.Path(sysconfig.get_paths()["include"], "Python.h"); '
        "sys.exit(sys.version_info < (3, 11) or not headers.exists())"
    )
    return fill(
        __package__,
        "rented.sh.j2",
        folder=FOLDER,
        root='$([ "$(id -u)" = 0 ] || echo sudo)',
        fits=fits,
        minutes=INSTALL_MINUTES,
        install=install(bundle, gpus),
    )


def environment(work: Work, bundle: Bundle, launch: str, folder: str) -> dict[str, str]:
    """Return the variables that aren't secret; `folder` is where the bundle is on the machine."""
    ca = {"LILM_SEARCH_CA": f"{folder}/{CA_FILE}"} if bundle.ca else {}
    return {"LILM_SEARCH_LAUNCH": launch, "LILM_SEARCH_USD_PER_HOUR": f"{work.usd_per_hour:g}", **ca}


def workers(work: Work) -> str:
    """Return a script that runs a worker on each GPU until nothing is left, or the time is over.

    A worker that crashes is started again, a few times; one that finds the database away (75) more often, after
    longer and longer pauses. One that ends by itself (0), was refused (1), was called wrongly (2) or has used up the
    time (124) is not. A signal reaches the workers, which hand their trials back.
    """
    return fill(
        __package__,
        "workers.sh.j2",
        work=work,
        devices=[f"cuda:{i}" for i in range(work.gpus)] or ["cpu"],
        away=AWAY,
        returns=RETURNS,
        restarts=RESTARTS,
        long_seconds=LONG_SECONDS,
        longest_pause_seconds=LONGEST_PAUSE_SECONDS,
    )
