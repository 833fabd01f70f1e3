"""What a client may ask of `/v1/completions`, in the words of OpenAI's API, with a limit for each."""

import json
from dataclasses import dataclass

from model.errors import SettingsError
from model.settings import Settings, deeper, setting

MOST_BODY_BYTES = 1 << 18
"""Bytes of a request's body."""
MOST_TOKENS = 2048
"""Tokens of a completion."""


class RefusedError(Exception):
    """A request that isn't carried out: an HTTP status, and a sentence for its sender."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class StreamOptions(Settings):
    """Options of a streamed completion."""

    include_usage: bool = setting(False, "a last part with the numbers of tokens")


@dataclass(frozen=True, kw_only=True)
class CompletionRequest(Settings):
    """A request for one completion of one prompt; settings without an effect here have their neutral value alone."""

    model: str = setting("", "any name: there is one model")
    prompt: str | tuple[str, ...] = setting("", "text to go on, or a list of one")
    max_tokens: int = setting(16, "most tokens to write", at_least=1, at_most=MOST_TOKENS)
    temperature: float = setting(1.0, "0 takes the likeliest token", at_least=0, at_most=2)
    top_p: float = setting(1.0, "probability of the tokens to choose among", above=0, at_most=1)
    seed: int | None = setting(None, "seed of the choice of tokens", at_least=0, at_most=2**31 - 1)
    stop: str | tuple[str, ...] | None = setting(None, "texts at which to stop, which aren't returned")
    stream: bool = setting(False, "whether each piece is sent as it is written")
    n: int = setting(1, "completions", at_least=1, at_most=1)
    best_of: int = setting(1, "completions to choose among", at_least=1, at_most=1)
    presence_penalty: float = setting(0.0, "not supported", at_least=0, at_most=0)
    frequency_penalty: float = setting(0.0, "not supported", at_least=0, at_most=0)
    user: str = setting("", "ignored")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.prompt, tuple) and len(self.prompt) != 1:
            raise SettingsError(f"`prompt` is a list of {len(self.prompt)}, but must be one text")
        if any(not stop for stop in self.stops) or len(self.stops) > 4:
            raise SettingsError("`stop` must be a text, or at most 4 of them, none empty")

    @property
    def text(self) -> str:
        """The prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts at which to stop."""
        return (self.stop,) if isinstance(self.stop, str) else self.stop or ()


def parse(body: bytes) -> tuple[CompletionRequest, StreamOptions]:
    """Return the request in a body; raises `RefusedError` with status 400 that names the key."""
    try:
        table = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON") from None
    if not isinstance(table, dict) or deeper(table):
        raise RefusedError(400, 'the body must be an object such as {"prompt": "Once", "max_tokens": 50}')
    given = {key: value for key, value in table.items() if value is not None}  # clients send null for what is left out
    try:
        options = StreamOptions.parse(given.pop("stream_options", {}), "`stream_options`")
        request = CompletionRequest.parse(given)
        request.text.encode("utf-8")
    except SettingsError as error:
        raise RefusedError(400, str(error)) from None
    except UnicodeEncodeError:
        raise RefusedError(400, "`prompt` holds half a surrogate pair (\\ud800 to \\udfff), not text") from None
    return request, options
