"""A study's text and tokenizers, the same bytes on every machine.

The text is compared. A tokenizer is trained once, by the first machine that needs it, and kept with the study's
files. Its record, the study attribute `tokenizer:KEY`, names the file and its SHA-256. The first record stands: other
machines take that tokenizer.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from optuna.artifacts.exceptions import ArtifactNotFound

from model.config import TokenizerConfig
from model.data import tokenizer_cache
from model.data.cache import is_complete
from model.data.corpus import Corpus, prepare, text_sha256, tokenizer_bytes, tokens_folder
from model.errors import StoppedError
from search.common import paths
from search.common.errors import SearchError
from search.machine.preparation import tokenizers
from search.study.artifacts import attach, study_artifacts
from search.study.study import LinkedStudy, agree, exists, load_study
from storage.queue.lease import lease
from storage.server.database import Database

POLL_SECONDS = 1.0
"""Seconds between looks at whether another machine has trained the tokenizer."""
Stop = Callable[[], bool]
"""Returns whether stopping is asked for."""


def agree_on_text(study: LinkedStudy) -> str:
    """Return the text's SHA-256, which must be the same on every machine for BPB to be comparable.

    Raises `DataError` if this machine can't get the text, `SearchError` if it isn't the study's.
    """
    source = study.plan.data.source
    here = text_sha256(study.plan.data, paths.cache())
    agreed = study.database.retrying(lambda: agree(study, "text_sha256", here))
    if agreed != here:
        raise SearchError(
            f"the text of {source} is not the study's: sha-256 {here[:9]}… here, {agreed[:9]}… there. "
            "Bring the same files (for built-in text: the same Python version), or start another study."
        )
    return here


def shared_corpus(study: LinkedStudy, config: TokenizerConfig, stop: Stop) -> Corpus:
    """Return the study's text with the study's tokenizer, trained here only if no machine has trained it or does.

    Raises `StoppedError` if stopping is asked for while another worker trains it.
    """
    data, cache = study.plan.data, paths.cache()
    text = text_sha256(data, cache)
    proto = study.database.retrying(lambda: _agreed_tokenizer(study, text, config, stop))
    return prepare(data, config, cache, proto=proto)


def publish_tokenizers(study: LinkedStudy) -> None:
    """Store the tokenizers that this machine has prepared with the study, unless it has them already."""
    text = agree_on_text(study)
    for config in tokenizers(study.plan):
        proto = tokenizer_cache.get(paths.cache(), text, config)
        if proto is not None:
            study.database.retrying(partial(_publish, study, text, config, proto))


def fetch_tokenizers(database: Database, name: str) -> None:
    """Copy a study's tokenizers into this machine's cache, before anything is prepared for it."""
    if not exists(database, name):
        return
    study = load_study(database, name)
    attributes = study.proxies.user_attrs
    text = attributes.get("text_sha256")
    if text is None:
        return
    for config in tokenizers(study.plan):
        if record := attributes.get(_attribute(text, config)):
            _recorded(study, text, config, record)


def _attribute(text: str, config: TokenizerConfig) -> str:
    return f"tokenizer:{tokenizer_cache.key(text, config)}"


def _agreed_tokenizer(study: LinkedStudy, text: str, config: TokenizerConfig, stop: Stop) -> bytes:
    name = _attribute(text, config)
    while True:
        if record := study.proxies.user_attrs.get(name):
            return _recorded(study, text, config, record)
        with lease(study.database.engine, f"lilm-search/{study.plan.name}/{name}") as mine:
            if mine and name not in study.proxies.user_attrs:
                return _publish(study, text, config, tokenizer_bytes(text, config, paths.cache()))
        if stop():
            raise StoppedError("stopped while another worker trains the tokenizer")
        time.sleep(POLL_SECONDS)


def _publish(study: LinkedStudy, text: str, config: TokenizerConfig, proto: bytes) -> bytes:
    """Make this the study's tokenizer unless it has one; return the study's."""
    name, sha256 = _attribute(text, config), hashlib.sha256(proto).hexdigest()
    with study.database.lock(f"lilm-search/tokenizers/{study.plan.name}"):
        record = study.proxies.user_attrs.get(name)
        if record is None:
            with tempfile.TemporaryDirectory(prefix="lilm-search-") as folder:
                path = Path(folder) / f"tokenizer-{config.kind}-{config.vocab_size}-{sha256[:8]}.model"
                path.write_bytes(proto)
                record = {"artifact": attach(study, study.proxies, None, path), "sha256": sha256}
            study.proxies.set_user_attr(name, record)
    return _recorded(study, text, config, record)


def _recorded(study: LinkedStudy, text: str, config: TokenizerConfig, record: Mapping[str, str]) -> bytes:
    """Return a recorded tokenizer: this machine's own if it is the same, else the study's file.

    Raises `SearchError` if neither has the recorded SHA-256.
    """
    cache, sha256 = paths.cache(), record["sha256"]
    here = tokenizer_cache.get(cache, text, config)
    if here is not None and _is(here, sha256):
        return here
    encoded = tokens_folder(cache, text, sha256)
    try:
        with (
            (encoded / tokenizer_cache.FILE).open("rb")
            if is_complete(encoded)
            else study_artifacts(study).open_reader(record["artifact"]) as file
        ):
            proto = file.read()
    except ArtifactNotFound:  # deleted by hand; with the same libraries, training gives the same bytes
        proto = here or tokenizer_bytes(text, config, cache)
    if not _is(proto, sha256):
        raise SearchError(
            f"the study's {config.kind} tokenizer of {config.vocab_size} tokens is not to be had: its file "
            f"{record['artifact']} is gone or damaged, and what can be trained here has another sha-256 than "
            f"{sha256[:9]}…. Put the file back, or start another study."
        )
    tokenizer_cache.get_or_train(cache, text, config, lambda: proto)
    return proto


def _is(proto: bytes, sha256: str) -> bool:
    return hashlib.sha256(proto).hexdigest() == sha256
