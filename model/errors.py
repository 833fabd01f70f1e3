"""Errors of preparing and training one configuration."""


class ModelError(Exception):
    """A configuration, text or checkpoint can't be used as it is; the message says what to change."""


class SettingsError(ModelError, ValueError):
    """A setting has an unknown name, a wrong type or a value out of range."""


class DataError(ModelError):
    """The text can't be read, is empty, or can't be tokenized without loss."""


class VocabularyError(DataError):
    """The text doesn't allow a tokenizer of this size."""

    least: int | None = None
    """Smallest vocabulary that holds the text's characters, if the one asked for is smaller."""
    most: int | None = None
    """Largest vocabulary that the text is enough for, if the one asked for is larger."""


class CheckpointError(ModelError):
    """A checkpoint is missing, unreadable, or not one of lilm-search."""


class DivergedError(ModelError):
    """The loss became NaN or infinite, or worse than that of a uniform distribution."""


class DeviceMemoryError(ModelError):
    """Not even one sequence fits into the device's memory."""


class CaptureError(ModelError):
    """A step can't be captured as a CUDA graph; what the try reserved on the GPU is lost until the process ends."""


class StoppedError(ModelError):
    """Training was asked to stop before its budget was spent; nothing is wrong with the configuration."""


class CompileError(ModelError):
    """Compilation is asked for, but this machine has no compiler for it."""
