"""Folders of lilm-search on this machine, all in one that LILM_SEARCH_HOME may set."""

import os
from pathlib import Path

import platformdirs


def checkout() -> Path:
    """Return the folder that holds our packages: a checkout's root, or an environment's site-packages."""
    return Path(__file__).parents[2]


def home() -> Path:
    """Return the folder of the embedded database, prepared data, checkpoints and logs.

    For root it is under /var/lib: PostgreSQL refuses to run as root, and other users can't enter root's data folder.
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
    """Return the folder of a study's confirmed weights; `folder` is `LinkedStudy.folder`, here and below."""
    return home() / "checkpoints" / folder


def resume(folder: str) -> Path:
    """Return the folder of the states of a study's unfinished confirmation runs."""
    return home() / "resume" / folder


def logs(study: str) -> Path:
    """Return the folder of a study's worker logs."""
    return home() / "logs" / study


def outbox(folder: str) -> Path:
    """Return the folder of workers' messages that the database hasn't received yet."""
    return home() / "outbox" / folder
