"""What dsym raises for a mistake in the input."""

import pickle


class InputError(ValueError):
    """A mistake in a config, a file or an option, not a defect of dsym.

    Its text is one line that names the file or key and the remedy;
    ``tools/train.py`` and ``tools/test.py`` show just that line.
    """


class MissingFileError(InputError, FileNotFoundError):
    """A file that an option names does not exist."""

    # FileNotFoundError's own would quote an errno that is not there.
    __str__ = ValueError.__str__


class UnsafeCheckpointError(InputError, pickle.UnpicklingError):
    """A checkpoint that is damaged or holds more than data."""
