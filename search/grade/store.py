"""Texts that models wrote and answers of a judge, kept on disk: a stopped run goes on, and no answer is paid twice."""

import hashlib
import json
from pathlib import Path
from typing import Any

from model.atomic import replacing


def key_of(*parts: Any) -> str:
    """Return the SHA-256 of plain values, in their order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Store:
    """Small tables by key, a file for each; threads and processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the table of a key; None if there is none, or its file is damaged."""
        try:
            table = json.loads(self._path(key).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return table if isinstance(table, dict) else None

    def put(self, key: str, table: dict[str, Any]) -> None:
        """Keep a table, whole or not at all."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
