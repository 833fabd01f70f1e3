"""A study's text and tokenizers, the same bytes on every machine.

The text is compared. A tokenizer is trained once, by whoever needs it first, and kept with the study's files; its
record, an attribute of the study, says which it is: `tokenizer:KEY`, with the file's id and sha-256. The first record
stands: whoever comes second takes what is there.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from optuna.artifacts.exceptions import ArtifactNotFound

from model.config import TokenizerConfig
from model.data import tokenizer_cache as trained
from model.data.cache import whole
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
Stop = Callable[[], bool]


def agree_on_text(study: LinkedStudy) -> str:
    """Return the text's sha-256, which must be the same everywhere for BPB to be comparable.

    Raises `DataError` where the text can't be had here, `SearchError` where it isn't the study's.
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
    """Return the study's text with the study's tokenizer, trained here only where nobody has, and nobody else does.

    Raises `StoppedError` when stopping is asked for while another worker trains it.
    """
    data, cache = study.plan.data, paths.cache()
    text = text_sha256(data, cache)
    proto = study.database.retrying(lambda: _agreed_tokenizer(study, text, config, stop))
    return prepare(data, config, cache, proto=proto)


def share(study: LinkedStudy) -> None:
    """Give the study the tokenizers that this machine has prepared for it, where it has none yet."""
    text = agree_on_text(study)
    for config in tokenizers(study.plan):
        proto = trained.known(paths.cache(), text, config)
        if proto is not None:
            study.database.retrying(partial(_publish, study, text, config, proto))


def fetch(database: Database, name: str) -> None:
    """Put the tokenizers that a study has already into this machine's cache, before anything is prepared for it."""
    if not exists(database, name):
        return
    study = load_study(database, name)
    known = study.proxies.user_attrs
    for config in tokenizers(study.plan) if "text_sha256" in known else []:
        record = known.get(_attribute(known["text_sha256"], config))
        if record:
            _settled(study, known["text_sha256"], config, record)


def _attribute(text: str, config: TokenizerConfig) -> str:
    return f"tokenizer:{trained.key(text, config)}"


def _agreed_tokenizer(study: LinkedStudy, text: str, config: TokenizerConfig, stop: Stop) -> bytes:
    name = _attribute(text, config)
    while True:
        if record := study.proxies.user_attrs.get(name):
            return _settled(study, text, config, record)
        with lease(study.database.engine, f"lilm-search/{study.plan.name}/{name}") as mine:
            if mine and name not in study.proxies.user_attrs:
                return _publish(study, text, config, tokenizer_bytes(text, config, paths.cache()))
        if stop():
            raise StoppedError("stopped while another worker trains the tokenizer")
        time.sleep(POLL_SECONDS)


def _publish(study: LinkedStudy, text: str, config: TokenizerConfig, proto: bytes) -> bytes:
    """Make this the study's tokenizer unless it has one; returns the one it has."""
    name, sha256 = _attribute(text, config), hashlib.sha256(proto).hexdigest()
    with study.database.lock(f"lilm-search/tokenizers/{study.plan.name}"):
        record = study.proxies.user_attrs.get(name)
        if record is None:
            with tempfile.TemporaryDirectory(prefix="lilm-search-") as folder:
                path = Path(folder) / f"tokenizer-{config.kind}-{config.vocab_size}-{sha256[:8]}.model"
                path.write_bytes(proto)
                record = {"artifact": attach(study, study.proxies, None, path), "sha256": sha256}
            study.proxies.set_user_attr(name, record)
    return _settled(study, text, config, record)


def _settled(study: LinkedStudy, text: str, config: TokenizerConfig, record: Mapping[str, str]) -> bytes:
    """Return the bytes that a record means: this machine's own where they are the same, else the study's file."""
    cache, wanted = paths.cache(), record["sha256"]
    here = trained.known(cache, text, config)
    if here is not None and _is(here, wanted):
        return here
    encoded = tokens_folder(cache, text, wanted)
    try:
        with (
            (encoded / trained.FILE).open("rb")
            if whole(encoded)
            else study_artifacts(study).open_reader(record["artifact"]) as file
        ):
            proto = file.read()
    except ArtifactNotFound:  # deleted by hand; training gives the same bytes, if this machine has the same libraries
        proto = here or tokenizer_bytes(text, config, cache)
    if not _is(proto, wanted):
        raise SearchError(
            f"the study's {config.kind} tokenizer of {config.vocab_size} tokens is not to be had: its file "
            f"{record['artifact']} is gone or damaged, and what can be trained here has another sha-256 than "
            f"{wanted[:9]}…. Put the file back, or start another study."
        )
    trained.keep(cache, text, config, lambda: proto)
    return proto


def _is(proto: bytes, sha256: str) -> bool:
    return hashlib.sha256(proto).hexdigest() == sha256
