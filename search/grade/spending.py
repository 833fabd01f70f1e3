"""What a judge's answers cost, and the most that they may cost."""

import math
import threading
from dataclasses import dataclass

from search.common.errors import SearchError

MILLION = 1_000_000


class CapReachedError(SearchError):
    """A further request might go beyond the cap; what was answered so far counts."""


@dataclass(frozen=True)
class Prices:
    """US dollars for a million tokens."""

    input_usd: float
    output_usd: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(usd) and usd >= 0 for usd in (self.input_usd, self.output_usd)):
            raise SearchError(
                f"--usd-per-million-tokens is {self.input_usd:g} {self.output_usd:g}, but must be two numbers >= 0: "
                "for tokens of the request, and of the answer"
            )

    def usd(self, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of so many tokens."""
        return (self.input_usd * input_tokens + self.output_usd * output_tokens) / MILLION


class Spending:
    """Requests, tokens and dollars so far, under a cap; threads may share it.

    A request is begun only if the most that it may cost, with what is spent and what others under way may cost, is
    within the cap. Its answer then counts with what the judge says it has used.

    Args:
        prices: None if they aren't known; then there can be no cap in dollars.
        max_usd: the most dollars, or None.
        max_requests: the most requests, those that failed and were repeated included, or None.

    """

    def __init__(self, prices: Prices | None, max_usd: float | None = None, max_requests: int | None = None) -> None:
        if max_usd is not None and prices is None:
            raise SearchError("--max-usd needs prices: give the judge's with --usd-per-million-tokens INPUT OUTPUT")
        self._prices, self._max_usd, self._max_requests = prices, max_usd, max_requests
        self._lock = threading.Lock()
        self._reserved_usd = self._charged_usd = 0.0
        self.requests = self.input_tokens = self.output_tokens = 0
        self.uncounted = 0
        """Answers that didn't say how many tokens they took."""

    @property
    def usd(self) -> float | None:
        """Dollars so far; None if prices or the tokens of some answers aren't known."""
        if self._prices is None or self.uncounted:
            return None
        return self._prices.usd(self.input_tokens, self.output_tokens)

    def begin(self, most_input: int, most_output: int) -> float:
        """Count a request that may take so many tokens; return the dollars set aside for it.

        Raises `CapReachedError` instead if it might go beyond the cap.
        """
        most = 0.0 if self._prices is None else self._prices.usd(most_input, most_output)
        with self._lock:
            if self._max_requests is not None and self.requests >= self._max_requests:
                raise CapReachedError(f"--max-requests {self._max_requests:,} is reached")
            if self._max_usd is not None and self._charged_usd + self._reserved_usd + most > self._max_usd:
                raise CapReachedError(f"a further request might go beyond --max-usd {self._max_usd:g}")
            self.requests += 1
            self._reserved_usd += most
        return most

    def end(self, set_aside: float, used: tuple[int, int] | None = None, *, answered: bool = True) -> None:
        """Count what a request took: its tokens (input, output), all that was set aside if it doesn't say, or nothing.

        Args:
            set_aside: what `begin` returned.
            used: tokens that the judge states, if it does.
            answered: whether there was an answer; a request without one isn't charged.

        """
        with self._lock:
            self._reserved_usd -= set_aside
            if not answered:
                return
            if used is None:
                self.uncounted += 1
                self._charged_usd += set_aside
            else:
                self.input_tokens += used[0]
                self.output_tokens += used[1]
                self._charged_usd += self._prices.usd(*used) if self._prices else 0.0
