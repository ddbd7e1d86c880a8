import errno

from ..errors import InputError

# errors that say nothing about the file
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)


class UnreadableImageError(InputError):
    """An image file that cannot be read.

    Args:
        path (str): The file.
        why (str): What is wrong with it.

    Attributes:
        path (str): The file.
    """

    def __init__(self, path: str, why: str = '') -> None:
        super().__init__(
            f'clip: {path} cannot be read {why}: restore it or take it off '
            'the list'
        )
        self.path = path
