"""GroupedOptimWrapperConstructor puts every parameter into few groups."""

import torch
from mmengine.optim import build_optim_wrapper
from torch import nn


class ScanHead(nn.Module):
    """A convolution with its norm, and a state space's own parameters."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1)
        self.bn = nn.BatchNorm2d(3)
        self.A_log = nn.Parameter(torch.zeros(3, 4))
        self.D = nn.Parameter(torch.ones(3))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)


def build(model, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='GroupedOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.01),
            paramwise_cfg=paramwise,
        ),
    ).optimizer


def names_of(model, group):
    names = {id(p): name for name, p in model.named_parameters()}
    return sorted(names[id(p)] for p in group['params'])


def test_groups_by_settings__state_space_included():
    model = ScanHead()
    optimizer = build(
        model,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={'A_log': dict(decay_mult=0.0, lr_mult=0.5)},
    )
    found = {
        (group['lr'], group['weight_decay'], group['is_bias']): names_of(
            model, group
        )
        for group in optimizer.param_groups
    }
    assert found == {
        (0.1, 0.01, False): ['D', 'conv.weight'],
        (0.1, 0.0, False): ['bn.weight'],
        (0.1, 0.0, True): ['bn.bias', 'conv.bias'],
        (0.05, 0.0, False): ['A_log'],
    }


def test_frozen_module__has_a_line_and_not_one_a_parameter(logged):
    model = nn.ModuleDict(dict(student=ScanHead(), teacher=ScanHead()))
    model.teacher.requires_grad_(False)
    optimizer = build(model)
    taken = [x for group in optimizer.param_groups for x in group['params']]
    student = [x for x in model.student.parameters() if x.requires_grad]
    assert {id(x) for x in taken} == {id(x) for x in student}
    frozen = [x for x in logged if 'teacher' in x]
    assert frozen == ['teacher: its 7 parameters are frozen']


def test_step_equals_mmengines():
    """The same gradients give the same parameters as a group for each."""
    results = []
    for constructor in (None, 'GroupedOptimWrapperConstructor'):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
        config = dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.5),
            paramwise_cfg=dict(norm_decay_mult=0.0, bias_lr_mult=3.0),
        )
        if constructor:
            config['constructor'] = constructor
        wrapper = build_optim_wrapper(model, config)
        images = torch.rand(2, 2, 5, 5)
        for _ in range(3):
            wrapper.update_params(model(images).square().mean())
        results.append(model.state_dict())
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def test_custom_keys__may_have_lists():
    model = ScanHead()
    keys = {'conv': dict(betas=[0.5, 0.9])}
    found = {
        tuple(group['betas']): names_of(model, group)
        for group in build(model, custom_keys=keys).param_groups
        if not group['is_bias']
    }
    assert found == {
        (0.5, 0.9): ['conv.weight'],
        (0.9, 0.999): ['A_log', 'D', 'bn.weight'],
    }
