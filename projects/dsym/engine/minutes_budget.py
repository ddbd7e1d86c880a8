import math
import time
from typing import Callable

from ..errors import InputError


class MinutesBudget:
    """Counts the minutes of training steps, loader included.

    Start-up, evaluations and pauses count for nothing: the time of a step is
    that since the last step, or since :meth:`start` for the first of a pass.

    Args:
        minutes (float): Minutes to spend. Defaults to no limit.
        spent (float): Minutes of steps before. Defaults to 0.
        clock (Callable): Seconds of a clock that never goes back. Defaults
            to :func:`time.monotonic`.

    Raises:
        InputError: If there is nothing to spend.
    """

    def __init__(
        self,
        minutes: float = math.inf,
        spent: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not minutes > 0:
            raise InputError(f'minutes={minutes}: give more than 0')
        self.minutes = minutes
        self.spent = spent
        self.clock = clock
        self._since = clock()

    def start(self) -> None:
        """Leave out the time that has gone by since the last step."""
        self._since = self.clock()

    def count_step(self) -> None:
        """Count the step that ends now."""
        now = self.clock()
        self.spent += (now - self._since) / 60
        self._since = now

    @property
    def share(self) -> float:
        """Share of the budget that is spent, at most 1."""
        return min(self.spent / self.minutes, 1.0)

    @property
    def is_spent(self) -> bool:
        """Whether there is nothing left."""
        return self.spent >= self.minutes
