"""Secrets kept out of everything that is printed or stored: known ones by their text, others by where they stand."""

import re
import sys
from typing import IO, Any
from urllib.parse import quote, quote_plus

HIDDEN = "***"
_LONG = 12
"""Characters from which a secret is hidden inside other words too: a shorter one may be a common word."""

_known: set[str] = set()


def keep_secret(secret: str | None) -> None:
    """Hide this text, also as it stands in a URL, wherever `redact` is applied from now on in this process."""
    if secret:
        _known.update({secret, quote(secret, safe=""), quote_plus(secret), quote(secret, safe=" +")})


def redact(text: str) -> str:
    """Return the text without known secrets, and without any password that stands in a URL or a list of settings."""
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = re.sub(_pattern(secret), HIDDEN, text)
    text = re.sub(r"(?<=://)([^:/@?\s]*):[^/?#\s]*@", rf"\1:{HIDDEN}@", text)
    text = re.sub(r"(?i)((?:^|[?&])[^=&\s]*(?:password|passfile|sslkey)[^=&\s]*=)[^&\s]*", rf"\1{HIDDEN}", text)
    text = re.sub(r"(?i)\b((?:pg)?password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&,;)]+)", rf"\1{HIDDEN}", text)
    return re.sub(r"SCRAM-SHA-256\$[\w+/=:$]+", HIDDEN, text)


def _pattern(secret: str) -> str:
    before = r"(?<!\w)" if len(secret) < _LONG and secret[0].isalnum() else ""
    after = r"(?!\w)" if len(secret) < _LONG and secret[-1].isalnum() else ""
    return before + re.escape(secret) + after


class _Redacting:
    """A text stream that hides secrets in what is written to it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_streams() -> None:
    """Hide secrets in all that this process prints from now on: lines, logs, warnings, tracebacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Redacting):
            setattr(sys, name, _Redacting(stream))


def reveal(text: str) -> None:
    """Print a line as it is, to someone who asked for the secret in it."""
    stream = getattr(sys.stdout, "_stream", sys.stdout)
    stream.write(text + "\n")
    stream.flush()
