"""Redaction of secrets in all that is printed or stored: known ones by their text, others by their position."""

import codecs
import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from typing import IO, Any
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
_LONG = 12
"""Length from which a secret is hidden inside other words too: a shorter one may be a common word."""
_PIECE = 4
"""Length from which a piece of a broken address is hidden: shorter ones reveal little, and are common."""
_MOST_WORDS = 12
"""Most words of a broken address of which each sequence is hidden; of more, single ones and those at its ends."""

_known: set[str] = set()

_DATABASES = r"(?:postgres(?:ql)?|mysql|mariadb|rediss?|sqlite|oracle|mssql|cockroachdb)(?:\+\w+)?"
_HEAD = re.compile(rf"(?i)(?:file:)?(?:{_DATABASES}://|postgresql(?:\+\w+)?:?/*|//)|file:")
"""Beginning of an address; anything else before a colon is taken for a user."""
_GOOD = re.compile(r"[\w+]+://[^:/@]*(?::(?P<password>[^@]*))?@[^@]*", re.S)
"""An address whose login ends at its one @, as SQLAlchemy reads it too."""
_LOGIN = re.compile(r"([\w.+-]*):[^\s@:/?#]*")
"""A login whose user can safely be told from its password."""
_PORTLESS = re.compile(r"(?![\da-fA-F:.]*$)([\w.+-]*:)(?!\d*(?:[/?]|$))(.*)", re.S)
"""A login in the place of host and port, because its @ was forgotten or encoded."""
_SETTING = r"\b(?:pg|ssl)?passw(?:or)?d(?:['\"]?\s*=|['\"]\s*:)"

_WHOLE = (
    r"(?:(?:[\w.+-]*:(?:\*\*\*|PASSWORD)|[\w.+-]+|\*\*\*)@)?"
    r"(?:\[[\w:.%]+\]|[\w.%,-]*)(?::\d+|:PORT)?(?:[/?][^\s@\"']*)?(?=[\"'`,;:.)\]}]*(?:\s|$)|\")"
)
"""An address without a secret, up to its end in a text."""
_IN_LINE = r"(?:(?!\"[\s,:}\])]|\"$)[^\n])*"
"""The possible extent of a broken address: the line, up to the end of a quotation."""
_FORMS = (
    re.compile(rf"(?im)(?<![\w+])({_DATABASES}:/++)(?!{_WHOLE})({_IN_LINE})@"),
    re.compile(r"(://)(?![\w.\[\]-]+:\d{1,5}/)([^\s\"@]*:[^\s\"]*)@"),
    re.compile(r"(?<![^\s\"'(<\[{=])((?:postgres\w*)?//|)(?!(?:hf|mailto):)([\w.+-]*:(?!//)[^\s\"]*)@(?!sha256:)"),
)
"""Addresses in a text whose login is hidden: of a database, of anything else, and without a scheme."""


def hide_secret(secret: str | None) -> None:
    """Hide this text, also as encoded in a URL, in quotes or in a path, wherever `redact` is applied from now on."""
    if secret:
        _known.update({secret, quote(secret, safe=""), quote_plus(secret), quote(secret, safe=" +")})
        _known.update({repr(secret)[1:-1], json.dumps(secret)[1:-1]})
        as_path = re.sub(r"/(?:\.?/)+", "/", secret)  # as part of a path, which is written with single slashes
        _known.update({as_path} if len(as_path) >= _PIECE else ())


def hide_address(text: str | None) -> None:
    """Hide the password of a text that may be an address; if its parts can't be told, every piece of the login."""
    if not text:
        return
    if good := _GOOD.fullmatch(text.strip()):
        hide_secret(good["password"])
        hide_secret(unquote(good["password"] or ""))
        return
    for secret in _suspects(text.strip()):
        hide_secret(secret if len(secret) >= _PIECE else None)
        for piece in (*_pieces(secret), *_pieces(unquote(secret))):
            hide_secret(piece)


def hide_given(texts: Iterable[str | None]) -> None:
    """Hide the passwords in all arguments and settings of a person that look like an address."""
    for text in texts:
        if text and (_without_logins(text) != text or re.search(_SETTING, text, re.I)):
            hide_address(re.sub(r"^--[\w-]+=", "", text))


def is_broken(address: str) -> bool:
    """Return whether an address has an @ that doesn't end its login, or more than one."""
    return "@" in address and _GOOD.fullmatch(address.strip()) is None


def has_secret(address: str) -> bool:
    """Return whether a text that may be an address has a password."""
    good = _GOOD.fullmatch(address.strip())
    return bool(good["password"] if good else any(_suspects(address.strip()))) or bool(
        re.search(_SETTING, address, re.I)
    )


def _suspects(address: str) -> Iterator[str]:
    """Yield the parts of a broken address that may be secret: its login after the user's name, values of settings."""
    values = [match[1] for match in re.finditer(rf"{_SETTING}(.*?)(?=\s+\w+\s*=|&|$)", address, re.S | re.I)]
    yield from (value.strip(" '\"") for value in values)
    if values and "://" not in address:
        return
    body = address[_end_of_head(address) :]
    login, at, _ = body.rpartition("@")
    user = re.match(r"[\w.+-]*:", login if at else body)
    if at and (user or not re.fullmatch(r"[\w.+-]*", login)):
        yield login[user.end() :] if user else login
    elif not at and (portless := _PORTLESS.match(body)):
        yield portless[2]


def _end_of_head(address: str) -> int:
    head = _HEAD.match(address)
    return head.end() if head else 0


def _pieces(secret: str) -> Iterator[str]:
    """Yield the pieces of a secret that a parser, splitting it at any sign, may show."""
    words = list(re.finditer(r"\w+", secret))
    last = len(words) - 1
    for i, first in enumerate(words):
        for j in range(i, len(words)):
            if last < _MOST_WORDS or i == j or i == 0 or j == last:
                piece = secret[first.start() : words[j].end()]
                if len(piece) >= _PIECE:
                    yield piece


def shown_address(address: str) -> str:
    """Return a text that may be an address with all before its last @ hidden, except a user's name."""
    hide_address(address)
    address = address.strip()
    start = _end_of_head(address)
    login, at, rest = address[start:].rpartition("@")
    if "://" not in address and re.search(_SETTING, address, re.I):
        return redact(address)
    if not at:
        return redact(address[:start] + _PORTLESS.sub(rf"\1{HIDDEN}", rest))
    return redact(f"{address[:start]}{_without_password(login)}@{rest}")


def _without_password(login: str) -> str:
    """Return a login with its password hidden; of one that can't be split, nothing."""
    if re.fullmatch(r"[\w.+-]+", login) or login in ("USER:PASSWORD", HIDDEN):
        return login
    user = _LOGIN.fullmatch(login)
    return f"{user[1]}:{HIDDEN}" if user else HIDDEN


def redact(text: str) -> str:
    """Return the text with known secrets, the logins of addresses, and passwords hidden."""
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = re.sub(_pattern(secret), HIDDEN, text)
    text = _without_logins(text)
    text = re.sub(rf"(?i)(?<![?&])({_SETTING}\s*)(?:(['\"])(?:\\.|(?!\2).)*\2|[^\s\"]+)", rf"\1\2{HIDDEN}\2", text)
    text = re.sub(r"(?i)((?:^|[?&])[^=&\s]*(?:password|passfile|sslkey)[^=&\s]*=)[^&\s\"]*", rf"\1{HIDDEN}", text)
    return re.sub(r"SCRAM-SHA-256\$[\w+/=:$]+", HIDDEN, text)


def _without_logins(text: str) -> str:
    if "@" not in text:
        return text
    for form in _FORMS:
        text = form.sub(_hide_login, text)
    return re.sub(r'(?<=host name ")[^\n]*@', f"{HIDDEN}@", text)


def _hide_login(match: "re.Match[str]") -> str:
    head, login = match.groups()
    if not head and re.search(rf"(?i)(?:{_DATABASES}|https?)://", login):
        return match[0]  # an address after a word, which another form has handled
    return f"{head}{_without_password(login)}@"


def _pattern(secret: str) -> str:
    before = r"(?<!\w)" if len(secret) < _LONG and secret[0].isalnum() else ""
    after = r"(?!\w)" if len(secret) < _LONG and secret[-1].isalnum() else ""
    return before + re.escape(secret) + after


_ASCII = str.maketrans(
    {
        **dict(zip("–—−⁻╍─━·•×÷█▇▆▅▄▃▂▁“”„‘’", '------=|*x/#*+=-.__"""\'\'', strict=True)),
        **{"±": "+-", "→": "->", "≤": "<=", "≥": ">=", "°": "", "√": "sqrt ", "½": "1/2", "€": "EUR", "ß": "ss"},
        **{"ρ": "rho", "σ": "sigma", "τ": "tau", "Σ": "sum", "Φ": "Phi"},
    }
)
"""ASCII for the signs that are printed."""


def to_ascii(text: str) -> str:
    """Return the text in ASCII: signs spelt out, letters without their accents, anything else as a question mark."""
    letters = unicodedata.normalize("NFKD", text.translate(_ASCII))
    return (
        "".join(c for c in letters if not unicodedata.combining(c))
        .translate(_ASCII)
        .encode("ascii", "replace")
        .decode()
    )


def _encode_in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return to_ascii(error.object[error.start : error.end]), error.end


codecs.register_error("lilm-search.plain", _encode_in_ascii)


class _Guarded:
    """A text stream that hides secrets in its output, and never fails at a sign that it can't show."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="lilm-search.plain")

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # or typer would write directly to the bytes of a stream that is ASCII
            raise AttributeError(name)
        return getattr(self._stream, name)


def guard_streams() -> None:
    """Hide secrets in all that this process prints from now on, and replace signs that the output can't show."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Guarded):
            setattr(sys, name, _Guarded(stream))


def print_file(text: str) -> None:
    """Print a file's text: on a terminal with signs replaced that it can't show, else in UTF-8 in any locale."""
    if hasattr(sys.stdout, "reconfigure") and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8", errors=sys.stdout.errors)
    sys.stdout.write(text)
    sys.stdout.flush()


def reveal(text: str) -> None:
    """Print a line as it is, to a person who asked for the secret in it."""
    stream = getattr(sys.stdout, "_stream", sys.stdout)
    stream.write(text + "\n")
    stream.flush()
