"""Where lilm-search keeps things on this machine: one folder, moved by LILM_SEARCH_HOME."""

import os
from pathlib import Path

import platformdirs


def checkout() -> Path:
    """Return the folder that holds our packages: a checkout's root, or an environment's site-packages."""
    return Path(__file__).parents[2]


def home() -> Path:
    """Return the folder of the embedded database, prepared data, checkpoints and logs.

    Root's own data folder is closed to others, and PostgreSQL refuses to run as root: it gets one under /var/lib.
    """
    if given := os.environ.get("LILM_SEARCH_HOME"):
        return Path(given).expanduser().resolve()
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/lilm-search")
    return Path(platformdirs.user_data_dir("lilm-search"))


def cache() -> Path:
    """Return the folder of prepared text, tokenizers and tokens."""
    return home() / "cache"


def checkpoints(folder: str) -> Path:
    """Return the folder of a study's confirmed weights; `folder` is the study's, here and below."""
    return home() / "checkpoints" / folder


def resume(folder: str) -> Path:
    """Return the folder of the states of a study's unfinished confirmation runs."""
    return home() / "resume" / folder


def logs(study: str) -> Path:
    """Return the folder of a study's worker logs."""
    return home() / "logs" / study


def outbox(folder: str) -> Path:
    """Return the folder of what workers wrote and the database hasn't taken yet."""
    return home() / "outbox" / folder
