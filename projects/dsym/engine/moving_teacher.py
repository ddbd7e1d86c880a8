import torch
from torch import nn

from ..ops import can_batch, lerp_


class MovingTeacher:
    """Moves a teacher towards its student (eq 3 of the DSYM paper).

    ``theta_t <- alpha theta_t + (1 - alpha) theta_s``, batch statistics
    included: without them a teacher with batch norm keeps those of its first
    weights. Whole numbers are copied.

    Args:
        teacher (nn.Module): Moved in place.
        student (nn.Module): Of the same architecture.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        values = teacher.state_dict().values(), student.state_dict().values()
        # by place: layers that share a tensor, as RTMDet's, list it again
        pairs = {
            (pair[0].data_ptr(), pair[0].shape): pair for pair in zip(*values)
        }.values()
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self.counters = [p for p in pairs if not p[0].is_floating_point()]
        self.teachers = [pair[0] for pair in averaged]
        self.students = [pair[1] for pair in averaged]
        self.batched = can_batch(self.teachers, self.students) and all(
            t.stride() == s.stride() for t, s in averaged
        )

    @torch.no_grad()
    def __call__(self, alpha: float) -> None:
        """Move once.

        Args:
            alpha (float): Share of the teacher that stays; 0 makes it equal
                to the student.
        """
        if not alpha:
            torch._foreach_copy_(self.teachers, self.students)
        elif self.batched:
            lerp_(self.teachers, self.students, 1 - alpha)
        else:
            torch._foreach_lerp_(self.teachers, self.students, 1 - alpha)
        for teacher, student in self.counters:
            teacher.copy_(student)
