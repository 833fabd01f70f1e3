"""What a person did that the search can't go on with."""


class SearchError(Exception):
    """The request can't be carried out; the message says what was wrong, what is allowed, what to do next."""


class StudyFileError(SearchError):
    """A study file has an unknown key, a wrong value or an impossible range."""


class StudyChangedError(SearchError):
    """A study is reopened with settings that would make its earlier results incomparable."""


class HalvesError(SearchError):
    """One of a study's two Optuna studies is gone, or is another study's."""


class HardwareError(SearchError):
    """A machine is not of the study's class, or too slow for it; nothing was claimed."""


class SpaceExhaustedError(SearchError):
    """A trial needs a configuration, and every one of the space has been given to another."""
