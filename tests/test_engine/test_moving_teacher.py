"""MovingTeacher: eq 3, with batch statistics."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmdet.engine.hooks import MeanTeacherHook
from torch import nn

from dsym.engine.moving_teacher import MovingTeacher

ORDERS = (torch.contiguous_format, torch.channels_last)


def net(seed, order=torch.contiguous_format):
    """Two layers after one batch of its own."""
    torch.manual_seed(seed)
    made = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
    ).to(memory_format=order)
    made.train()(5 * torch.randn(2, 3, 8, 8) + seed)
    return made


def state(model):
    return {k: v.clone().double() for k, v in model.state_dict().items()}


@pytest.mark.parametrize('of_student', ORDERS)
@pytest.mark.parametrize('of_teacher', ORDERS)
def test_equation_3(of_teacher, of_student):
    """Also where the two are in different memory orders."""
    teacher, student = net(1, of_teacher), net(2, of_student)
    student(torch.randn(2, 3, 8, 8))  # its second batch
    before, source = state(teacher), state(student)
    MovingTeacher(teacher, student)(0.9)
    after = state(teacher)
    assert before['1.num_batches_tracked'] == 1
    assert after.pop('1.num_batches_tracked') == 2
    assert {'0.weight', '1.running_mean', '1.running_var'} < after.keys()
    for name, value in after.items():
        expected = 0.9 * before[name] + 0.1 * source[name]
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    for name, value in state(student).items():
        assert torch.equal(value, source[name])


def test_three_steps_in_closed_form():
    """theta_3 = a^3 theta_0 + (1 - a) (a^2 s_1 + a s_2 + s_3)."""
    teacher, student = net(1), net(2)
    move = MovingTeacher(teacher, student)
    start, sources = state(teacher), []
    for _ in range(3):
        with torch.no_grad():
            for parameter in student.parameters():
                parameter += torch.randn_like(parameter)
        student(torch.randn(2, 3, 8, 8))
        sources.append(state(student))
        move(0.8)
    found = state(teacher)
    assert found.pop('1.num_batches_tracked') == 4
    for name, value in found.items():
        first, second, third = (source[name] for source in sources)
        expected = 0.512 * start[name]
        expected += 0.2 * (0.64 * first + 0.8 * second + third)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('of_student', ORDERS)
def test_alpha_0_is_a_copy(of_student):
    teacher, student = net(1), net(2, of_student)
    with torch.no_grad():
        teacher[0].weight[0] = float('nan')  # nothing of it stays
    MovingTeacher(teacher, student)(0.0)
    for name, value in state(teacher).items():
        assert torch.equal(value, state(student)[name]), name
    # and not the same memory
    with torch.no_grad():
        student[0].weight += 1
    assert not torch.equal(teacher[0].weight, student[0].weight)


def test_other_dtypes():
    teacher, student = net(1).double(), net(2).double()
    expected = 0.75 * teacher[0].weight + 0.25 * student[0].weight
    MovingTeacher(teacher, student)(0.75)
    torch.testing.assert_close(teacher[0].weight, expected)


def test_mmdets_hook_leaves_the_statistics_alone():
    """Why it is not used: its default is skip_buffer=True (mmdet#10223)."""
    teacher, student = net(1), net(2)
    ours = copy.deepcopy(teacher)
    before = state(teacher)
    runner = SimpleNamespace(
        model=SimpleNamespace(teacher=teacher, student=student), iter=0
    )
    MeanTeacherHook(momentum=0.5).after_train_iter(runner, 0)
    MovingTeacher(ours, student)(0.5)
    torch.testing.assert_close(teacher[0].weight, ours[0].weight)
    for name in ('running_mean', 'running_var'):
        kept, moved = getattr(teacher[1], name), getattr(ours[1], name)
        assert torch.equal(kept.double(), before[f'1.{name}'])
        assert (moved - kept).abs().min() > 1e-3


def test_shared_tensor_moves_once():
    """RTMDet's levels share convolutions, which are listed a time each."""

    def net(value):
        layer = nn.Linear(1, 1)
        nn.init.constant_(layer.weight, value)
        return nn.ModuleList([layer, layer, layer])

    teacher, student = net(0.0), net(1.0)
    MovingTeacher(teacher, student)(alpha=0.9)
    assert teacher[0].weight.item() == pytest.approx(0.1)
