"""Errors of the study's database; no message ever holds a password."""


class StorageError(Exception):
    """The database can't be used as asked; the message says what was wrong and what to do next."""


class UnreachableError(StorageError):
    """No server answers at the address, or it stopped answering for too long."""


class BusyError(StorageError):
    """Another process holds a lock for longer than is reasonable; it may be free later."""


class LoginError(StorageError):
    """A server answers, but refuses the user, the password or the database."""


class DeniedError(StorageError):
    """The user may log in, but lacks the right to what was asked."""


class GoneError(StorageError):
    """The study has been deleted from the database."""


class EmbeddedError(StorageError):
    """The PostgreSQL on this machine can't be created or started."""


class ArtifactSizeError(StorageError):
    """A file is too large to be kept in the database."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; its type if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
