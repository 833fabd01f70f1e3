"""Secrets kept out of everything that is printed or stored: known ones by their text, others by where they stand."""

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
"""Characters from which a secret is hidden inside other words too: a shorter one may be a common word."""
_PIECE = 4
"""Characters from which a piece of a broken address is hidden: shorter ones tell little, and stand everywhere."""
_MOST_WORDS = 12
"""Words of a broken address above which not every run of them is kept, but those at its ends and single ones."""

_known: set[str] = set()

_DATABASES = r"(?:postgres(?:ql)?|mysql|mariadb|rediss?|sqlite|oracle|mssql|cockroachdb)(?:\+\w+)?"
_HEAD = re.compile(rf"(?i)(?:file:)?(?:{_DATABASES}://|postgresql(?:\+\w+)?:?/*|//)|file:")
"""How an address may begin; anything else before a colon is taken for a user."""
_GOOD = re.compile(r"[\w+]+://[^:/@]*(?::(?P<password>[^@]*))?@[^@]*", re.S)
"""An address whose login ends at its one @, as SQLAlchemy reads it too."""
_LOGIN = re.compile(r"([\w.+-]*):[^\s@:/?#]*")
"""A login whose user can be told from its password for sure."""
_PORTLESS = re.compile(r"(?![\da-fA-F:.]*$)([\w.+-]*:)(?!\d*(?:[/?]|$))(.*)", re.S)
"""What stands where host and port should: a login whose @ was forgotten, or is written otherwise."""
_SETTING = r"\b(?:pg|ssl)?passw(?:or)?d(?:['\"]?\s*=|['\"]\s*:)"

_WHOLE = (
    r"(?:(?:[\w.+-]*:(?:\*\*\*|PASSWORD)|[\w.+-]+|\*\*\*)@)?"
    r"(?:\[[\w:.%]+\]|[\w.%,-]*)(?::\d+|:PORT)?(?:[/?][^\s@\"']*)?(?=[\"'`,;:.)\]}]*(?:\s|$)|\")"
)
"""An address with nothing secret in it, to where it ends in a text."""
_IN_LINE = r"(?:(?!\"[\s,:}\])]|\"$)[^\n])*"
"""What may belong to a broken address: the line, up to the end of a quotation."""
_FORMS = (
    re.compile(rf"(?im)(?<![\w+])({_DATABASES}:/++)(?!{_WHOLE})({_IN_LINE})@"),
    re.compile(r"(://)(?![\w.\[\]-]+:\d{1,5}/)([^\s\"@]*:[^\s\"]*)@"),
    re.compile(r"(?<![^\s\"'(<\[{=])((?:postgres\w*)?//|)(?!(?:hf|mailto):)([\w.+-]*:(?!//)[^\s\"]*)@(?!sha256:)"),
)
"""Addresses in a text: of a database, of anything else, and without a scheme; of each the login is hidden."""


def keep_secret(secret: str | None) -> None:
    """Hide this text, also as it stands in a URL or in quotes, wherever `redact` is applied from now on."""
    if secret:
        _known.update({secret, quote(secret, safe=""), quote_plus(secret), quote(secret, safe=" +")})
        _known.update({repr(secret)[1:-1], json.dumps(secret)[1:-1]})


def keep_address(text: str | None) -> None:
    """Hide the password of what may be an address; of a broken one, whose parts can't be told, every piece of it."""
    if not text:
        return
    if good := _GOOD.fullmatch(text.strip()):
        keep_secret(good["password"])
        keep_secret(unquote(good["password"] or ""))
        return
    for secret in _suspects(text.strip()):
        keep_secret(secret if len(secret) >= _PIECE else None)
        for piece in (*_pieces(secret), *_pieces(unquote(secret))):
            keep_secret(piece)


def keep_given(texts: Iterable[str | None]) -> None:
    """Hide the passwords of all that looks like an address among what a person gave: arguments, settings."""
    for text in texts:
        if text and (_without_logins(text) != text or re.search(_SETTING, text, re.I)):
            keep_address(re.sub(r"^--[\w-]+=", "", text))


def is_broken(address: str) -> bool:
    """Return whether an address has an @ that doesn't end its login, or more than one."""
    return "@" in address and _GOOD.fullmatch(address.strip()) is None


def has_secret(address: str) -> bool:
    """Return whether a password stands in what may be an address."""
    good = _GOOD.fullmatch(address.strip())
    return bool(good["password"] if good else any(_suspects(address.strip()))) or bool(
        re.search(_SETTING, address, re.I)
    )


def _suspects(address: str) -> Iterator[str]:
    """Yield what may be secret in a broken address: its login after a user's name, values of settings."""
    values = [found[1] for found in re.finditer(rf"{_SETTING}(.*?)(?=\s+\w+\s*=|&|$)", address, re.S | re.I)]
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
    """Yield what a parser that takes it apart at any signs may show of it."""
    words = list(re.finditer(r"\w+", secret))
    last = len(words) - 1
    for i, first in enumerate(words):
        for j in range(i, len(words)):
            if last < _MOST_WORDS or i == j or i == 0 or j == last:
                piece = secret[first.start() : words[j].end()]
                if len(piece) >= _PIECE:
                    yield piece


def shown_address(address: str) -> str:
    """Return what may be an address as it may be shown: all before its last @ is hidden, but for a user's name."""
    keep_address(address)
    address = address.strip()
    start = _end_of_head(address)
    login, at, rest = address[start:].rpartition("@")
    if "://" not in address and re.search(_SETTING, address, re.I):
        return redact(address)
    if not at:
        return redact(address[:start] + _PORTLESS.sub(rf"\1{HIDDEN}", rest))
    return redact(f"{address[:start]}{_without_password(login)}@{rest}")


def _without_password(login: str) -> str:
    """Return the user's name of a good login; nothing of any other."""
    if re.fullmatch(r"[\w.+-]+", login) or login in ("USER:PASSWORD", HIDDEN):
        return login
    user = _LOGIN.fullmatch(login)
    return f"{user[1]}:{HIDDEN}" if user else HIDDEN


def redact(text: str) -> str:
    """Return the text without known secrets, without what stands before the @ of an address, and without passwords."""
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


def _hide_login(found: "re.Match[str]") -> str:
    head, login = found.groups()
    if not head and re.search(rf"(?i)(?:{_DATABASES}|https?)://", login):
        return found[0]  # an address after a word, which has been seen to
    return f"{head}{_without_password(login)}@"


def _pattern(secret: str) -> str:
    before = r"(?<!\w)" if len(secret) < _LONG and secret[0].isalnum() else ""
    after = r"(?!\w)" if len(secret) < _LONG and secret[-1].isalnum() else ""
    return before + re.escape(secret) + after


_PLAIN = str.maketrans(
    {
        **dict(zip("–—−⁻╍─━·•×÷█▇▆▅▄▃▂▁“”„‘’", '------=|*x/#*+=-.__"""\'\'', strict=True)),
        **{"±": "+-", "→": "->", "≤": "<=", "≥": ">=", "°": "", "√": "sqrt ", "½": "1/2", "€": "EUR", "ß": "ss"},
        **{"ρ": "rho", "σ": "sigma", "τ": "tau", "Σ": "sum", "Φ": "Phi"},
    }
)
"""Signs that we print, in ASCII."""


def plain(text: str) -> str:
    """Return the text in ASCII: signs spelt out, letters without their accents, anything else as a question mark."""
    letters = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    return (
        "".join(c for c in letters if not unicodedata.combining(c))
        .translate(_PLAIN)
        .encode("ascii", "replace")
        .decode()
    )


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return plain(error.object[error.start : error.end]), error.end


codecs.register_error("lilm-search.plain", _in_plain)


class _Guarded:
    """A text stream that hides secrets in what is written to it, and never fails at a sign that it can't show."""

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
        if name == "buffer":  # typer would write around us to the bytes of a stream that is ASCII
            raise AttributeError(name)
        return getattr(self._stream, name)


def guard_streams() -> None:
    """Hide secrets in all that this process prints from now on, and replace what a terminal or file can't show."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Guarded):
            setattr(sys, name, _Guarded(stream))


def print_file(text: str) -> None:
    """Print a file's text: on a terminal as far as it can be shown, to anything else in UTF-8, whatever the locale."""
    if hasattr(sys.stdout, "reconfigure") and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8", errors=sys.stdout.errors)
    sys.stdout.write(text)
    sys.stdout.flush()


def reveal(text: str) -> None:
    """Print a line as it is, to a person who asked for the secret in it."""
    stream = getattr(sys.stdout, "_stream", sys.stdout)
    stream.write(text + "\n")
    stream.flush()
