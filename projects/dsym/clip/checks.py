import math
from typing import Any, Sequence

from ..errors import InputError


def check_choice(name: str, given: str, choices: Sequence[str]) -> None:
    """Raise :class:`InputError` unless a setting is one of some.

    Args:
        name (str): Of the setting of ``CLIPFilterHook``.
        given (str): What a config says.
        choices (Sequence[str]): What it may say.
    """
    if given not in choices:
        raise InputError(
            f'CLIPFilterHook: {name}={given!r}: give one of '
            f'{", ".join(choices)}'
        )


def is_number(given: Any) -> bool:
    """Whether a setting is an int or float; a bool is none."""
    return isinstance(given, (int, float)) and not isinstance(given, bool)


def check_number(name: str, given: Any, most: float = 1) -> None:
    """Raise :class:`InputError` unless numbers are from 0 to another one.

    Args:
        name (str): Of the setting of ``CLIPFilterHook``.
        given (float or Sequence[float], optional): What a config says; None
            is no number to check.
        most (float): The greatest that there may be. Defaults to 1.
    """
    numbers = given if isinstance(given, (list, tuple)) else [given]
    if given is not None and not all(
        is_number(x) and 0 <= x <= most for x in numbers
    ):
        span = 'of 0 or more' if math.isinf(most) else f'from 0 to {most}'
        raise InputError(
            f'CLIPFilterHook: {name}={given!r}: give a number {span}'
        )
