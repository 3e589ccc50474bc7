"""Errors that a user can act on.

Each message says what was given, what is needed and what to do; the commands print it as one sentence
without a traceback. Anything else that escapes from the package is a bug in the package.
"""


class VaeptError(Exception):
    """Base of every error that the package raises on purpose."""


class InputError(VaeptError, ValueError):
    """An argument or a file that cannot be used: missing, of the wrong shape or kind, or out of range."""


class DownloadError(VaeptError, OSError):
    """Data that could not be fetched from any mirror."""


class DamagedFileError(VaeptError, OSError):
    """A file whose content is not what was written: truncated, altered, or of another format version."""


class TrainingError(VaeptError, RuntimeError):
    """A member whose loss is no longer a finite number."""


class ConvergenceError(VaeptError, RuntimeError):
    """Levels that could not be computed to the accuracy that was asked for."""
