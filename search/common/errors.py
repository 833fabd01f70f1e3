"""Errors that a person can cause and correct."""


class SearchError(Exception):
    """The request can't be carried out; the message says what was wrong, what is allowed, what to do next."""


class StudyFileError(SearchError):
    """A study file has an unknown key, a wrong value or an impossible range."""


class StudyChangedError(SearchError):
    """A study was reopened with settings that would make its earlier results incomparable."""


class HalvesError(SearchError):
    """One of a study's two Optuna studies was deleted, or belongs to another study."""


class HardwareError(SearchError):
    """A machine isn't like the study's hardware, or is too slow for it; no trial was claimed."""


class SpaceExhaustedError(SearchError):
    """A trial needs a configuration, but all of the space have been given to other trials."""


class AwayError(SearchError):
    """Something on the network doesn't answer, or is too busy to; it may later."""
