from numbers import Integral, Real
from typing import Any, Sequence

from ...errors import InputError


def check_shares(owner: str, **values: Any) -> None:
    """Refuse what is no score and no share.

    Args:
        owner (str): Name of the class that the values configure.
        **values (float): By the argument's name.

    Raises:
        InputError: If one is not a number from 0 to 1.
    """
    for name, value in values.items():
        if not (isinstance(value, Real) and 0 <= value <= 1):
            raise InputError(
                f'{owner}: {name}={value!r}: give a number from 0 to 1'
            )


def check_counts(owner: str, **values: Any) -> None:
    """Refuse what is no positive count.

    Args:
        owner (str): Name of the class that the values configure.
        **values (int): By the argument's name.

    Raises:
        InputError: If one is not an integer of at least 1.
    """
    for name, value in values.items():
        if not (isinstance(value, Integral) and value >= 1):
            raise InputError(f'{owner}: {name}={value!r}: give 1 or more')


def check_means(owner: str, **values: Any) -> None:
    """Refuse what is no mean count of each class.

    Args:
        owner (str): Name of the class that the values configure.
        **values (Sequence[float]): By the argument's name.

    Raises:
        InputError: If one is not a list of numbers of at least 0.
    """
    for name, value in values.items():
        if not (
            isinstance(value, Sequence)
            and all(isinstance(x, Real) and x >= 0 for x in value)
        ):
            raise InputError(
                f'{owner}: {name}={value!r}: give a list of one number a '
                'class, 0 or more'
            )
