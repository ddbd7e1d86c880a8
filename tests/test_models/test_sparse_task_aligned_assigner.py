"""SparseTaskAlignedAssigner against mmyolo's dense one."""

import pytest
import torch
from mmengine.registry import TASK_UTILS
from mmyolo.models.task_modules.assigners import BatchTaskAlignedAssigner

SETTINGS = dict(num_classes=6, topk=10, alpha=0.5, beta=6.0, eps=1e-9)


def places(size=96):
    """Centres at strides 8, 16 and 32: 144 + 36 + 9."""
    levels = []
    for stride in (8, 16, 32):
        along = (torch.arange(size // stride) + 0.5) * stride
        y, x = torch.meshgrid(along, along, indexing='ij')
        step = torch.full_like(x, stride)
        levels.append(torch.stack([x, y, step, step], -1).view(-1, 4))
    return torch.cat(levels)


def batch(images, boxes, seed, size=96):
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(shape, generator=generator)

    priors = places(size)
    centre = priors[:, :2] + 8 * (rand(images, len(priors), 2) - 0.5)
    side = 4 + 50 * rand(images, len(priors), 2)
    predicted = torch.cat([centre - side / 2, centre + side / 2], -1)
    corner = size * rand(images, boxes, 2)
    side = 3 + 60 * rand(images, boxes, 2)
    # each image has fewer boxes than the next; the first has none
    count = torch.arange(images) * boxes // max(images - 1, 1)
    flag = (torch.arange(boxes) < count[:, None]).float()[..., None]
    truth = torch.cat([corner - side / 2, corner + side / 2], -1) * flag
    labels = (6 * rand(images, boxes, 1)).floor() * flag
    scores = rand(images, len(priors), 6)
    return predicted, scores, priors, labels, truth, flag


@pytest.mark.parametrize('use_ciou', [True, False])
@pytest.mark.parametrize('seed', range(4))
def test_as_mmyolo(seed, use_ciou):
    ours = TASK_UTILS.build(
        dict(type='SparseTaskAlignedAssigner', use_ciou=use_ciou, **SETTINGS)
    )
    peer = BatchTaskAlignedAssigner(use_ciou=use_ciou, **SETTINGS)
    data = batch(images=5, boxes=4 + 4 * seed, seed=seed)
    found, expected = ours(*data), peer(*data)
    rows = found.pop('assigned_rows')
    assert found.keys() == expected.keys()
    chosen = data[4].gather(1, rows[..., None].expand(-1, -1, 4))
    matched = expected['fg_mask_pre_prior'].bool()
    assert torch.equal(chosen[matched], expected['assigned_bboxes'][matched])
    assert expected['fg_mask_pre_prior'].sum() > 50
    assert not expected['fg_mask_pre_prior'][0].any()
    for key in ('fg_mask_pre_prior', 'assigned_labels', 'assigned_bboxes'):
        assert torch.equal(found[key], expected[key]), key
    torch.testing.assert_close(
        found['assigned_scores'],
        expected['assigned_scores'],
        rtol=1e-4,
        atol=1e-5,
    )


def test_prior_of_two_boxes_goes_to_the_greater_overlap():
    """Two boxes around one centre; the prediction is the second box."""
    priors = places()[:1] * 0 + torch.tensor([[20.0, 20.0, 8.0, 8.0]])
    truth = torch.tensor([[[0.0, 0, 40, 40], [10, 10, 30, 30]]])
    assigner = TASK_UTILS.build(
        dict(
            type='SparseTaskAlignedAssigner',
            use_ciou=True,
            **{**SETTINGS, 'topk': 1},
        )
    )
    found = assigner(
        truth[:, 1:],
        torch.full((1, 1, 6), 0.25),
        priors,
        torch.tensor([[[2.0], [5.0]]]),
        truth,
        torch.ones(1, 2, 1),
    )
    assert found['assigned_labels'].tolist() == [[5]]
    assert found['assigned_bboxes'].tolist() == [[[10, 10, 30, 30]]]
    # the box's best prior gets its overlap, CIoU 1, as score
    assert found['assigned_scores'][0, 0, 5].item() == pytest.approx(1, 1e-4)


def test_no_boxes_at_all():
    data = batch(images=2, boxes=0, seed=0)
    assigner = TASK_UTILS.build(
        dict(type='SparseTaskAlignedAssigner', **SETTINGS)
    )
    found = assigner(*data)
    assert not found['fg_mask_pre_prior'].any()
    assert found['assigned_scores'].sum() == 0
