"""Weights of boxes in the losses of YOLOv9Head and MambaHead."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

from dsym.errors import InputError
from dsym.models.dense_heads.doubtful_targets import box_weights

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = ('loss_cls', 'loss_bbox', 'loss_dfl')
# two of 15 strides of a level, as large as random distributions' boxes
FIRST = [[16.0, 16, 136, 136], [100, 20, 236, 150]]
SECOND = [[4.0, 4, 244, 244], [60, 90, 190, 220]]


def build(kind='YOLOv9Head', assigner='SparseTaskAlignedAssigner'):
    config = Config.fromfile(CONFIGS / '_base_/models/yolov9_t.py').model
    config = Config({**config.bbox_head, 'train_cfg': config.train_cfg})
    config.aux_head_module = None
    config.train_cfg.assigner.type = assigner
    if kind == 'MambaHead':
        config.type = kind
        config.head_module.update(type='MambaHeadModule', with_confidence=True)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        return MODELS.build({**config})


def outputs(images, kind='YOLOv9Head', seed=0):
    """Random outputs for views of 256 px."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.randn(images, *shape, generator=generator)

    sizes = [256 // stride for stride in (8, 16, 32)]
    logits = [rand(6, size, size) for size in sizes]
    bins = [0.3 * rand(size**2, 4, 16) for size in sizes]
    distances = [
        (x.softmax(-1) @ torch.arange(16.0)).transpose(1, 2).unflatten(
            2, (size, size)
        )
        for x, size in zip(bins, sizes)
    ]  # fmt: skip
    outs = [logits, distances, bins]
    if kind == 'MambaHead':
        outs.append([rand(1, size, size) for size in sizes])
    return outs


def boxes(corners, weights=None):
    made = InstanceData(
        bboxes=torch.tensor(corners).view(-1, 4),
        labels=torch.arange(len(corners)) % 6,
    )
    if weights is not None:
        made.weights = torch.tensor(weights)
    return made


def losses_of(head, outs, *labels):
    with torch.no_grad():
        return head.loss_by_feat(*outs, list(labels), [{}] * len(labels))


@pytest.mark.parametrize('kind', ['YOLOv9Head', 'MambaHead'])
def test_weights_of_1_change_nothing(kind):
    head, outs = build(kind), outputs(2, kind)
    plain = losses_of(head, outs, boxes(FIRST), boxes(SECOND))
    assert set(plain) == {*NAMES} | (
        {'loss_conf'} if kind == 'MambaHead' else set()
    )
    ones = losses_of(
        head, outs, boxes(FIRST, [1.0, 1.0]), boxes(SECOND, [1.0, 1.0])
    )
    # boxes without weights beside others count fully
    mixed = losses_of(head, outs, boxes(FIRST, [1.0, 1.0]), boxes(SECOND))
    for name, loss in plain.items():
        assert loss > 0.1
        torch.testing.assert_close(ones[name], loss)
        torch.testing.assert_close(mixed[name], loss)


@pytest.mark.parametrize('kind', ['YOLOv9Head', 'MambaHead'])
def test_one_weight_for_all_is_a_factor(kind):
    """Of what belongs to boxes: a doubtful image teaches less."""
    head, outs = build(kind), outputs(1, kind)
    plain = losses_of(head, outs, boxes(FIRST))
    found = losses_of(head, outs, boxes(FIRST, [0.5, 0.5]))
    for name in set(plain) - {'loss_cls'}:
        torch.testing.assert_close(found[name], 0.5 * plain[name])
    assert found['loss_cls'] < plain['loss_cls']


@pytest.mark.parametrize('kind', ['YOLOv9Head', 'MambaHead'])
def test_weights_choose_among_images(kind):
    """The losses of each alone add up to those of both."""
    head, outs = build(kind), outputs(2, kind)

    def losses(first, second):
        return losses_of(
            head, outs, boxes(FIRST, 2 * [first]), boxes(SECOND, 2 * [second])
        )

    full, one, other = losses(1.0, 1.0), losses(1.0, 0.0), losses(0.0, 1.0)
    for name in set(full) - {'loss_cls'}:
        torch.testing.assert_close(one[name] + other[name], full[name])
        assert min(one[name], other[name]) > 1e-3


def test_class_loss_by_its_definition():
    """(w foreground + background) / (sum of scores) with BCE of 0.5."""
    head, outs = build(), outputs(1)
    truth = F.pad(torch.tensor(FIRST), (1, 0))[None]
    truth[0, :, 0] = torch.tensor([0.0, 1])
    with torch.no_grad():
        plain, matches = head.match_and_loss(*outs, truth)
    logits = torch.cat([x.flatten(2) for x in outs[0]], 2)[0].t()
    matched = torch.zeros(len(logits), dtype=torch.bool)
    matched[matches.place] = True
    # a place without a box: -log(1 - sigmoid(x)) of each class
    background = 0.5 * F.softplus(logits[~matched]).sum()
    total = matches.weights.sum()
    assert total > 2
    foreground = plain['loss_cls'] * total - background
    for weight in (0.5, 0.75):
        found = losses_of(head, outs, boxes(FIRST, [weight, weight]))
        torch.testing.assert_close(
            found['loss_cls'],
            (weight * foreground + background) / total,
            rtol=1e-4,
            atol=1e-4,
        )
    # of weight 0 the background alone is left
    found = losses_of(head, outs, boxes(FIRST, [0.0, 0.0]))
    torch.testing.assert_close(found['loss_cls'], background / total)
    assert found['loss_bbox'] == found['loss_dfl'] == 0


def test_soft_targets_by_their_definition():
    """BCE with w times the scores, which are the matches' weights."""
    head, outs = build(), outputs(1)
    head.soft_targets = True
    truth = F.pad(torch.tensor(FIRST[:1]), (1, 0))[None]
    with torch.no_grad():
        _, matches = head.match_and_loss(*outs, truth)
    logits = torch.cat([x.flatten(2) for x in outs[0]], 2)[0].t()
    for weight in (0.0, 0.4, 1.0):
        targets = torch.zeros_like(logits)
        targets[matches.place, 0] = weight * matches.weights[:, 0]
        bce = F.binary_cross_entropy_with_logits(
            logits, targets, reduction='sum'
        )
        found = losses_of(head, outs, boxes(FIRST[:1], [weight]))
        torch.testing.assert_close(
            found['loss_cls'],
            0.5 * bce / matches.weights.sum(),
            rtol=1e-4,
            atol=1e-4,
        )


def test_weight_belongs_to_its_box():
    """With one of 0, only the other's places have a weight."""
    head, outs = build(), outputs(1)
    truth = F.pad(torch.tensor(FIRST), (1, 0))[None]
    with torch.no_grad():
        _, plain = head.match_and_loss(*outs, truth)
        _, found = head.match_and_loss(
            *outs, truth, torch.tensor([[0.0, 0.25]])
        )
    assert torch.equal(found.place, plain.place)
    strides = head.stride_tensor[found.place]
    second = (found.targets * strides == truth[0, 1, 1:]).all(1)
    assert 0 < second.sum() < len(second)
    expected = 0.25 * plain.weights * second[:, None]
    torch.testing.assert_close(found.weights, expected)


def test_images_with_fewer_boxes_or_none():
    """Rows that fill up a batch change nothing."""
    labels = boxes([], []), boxes(FIRST, [0.5, 1.0]), boxes(SECOND[:1], [0.5])
    weights = box_weights(labels)
    assert weights.tolist() == [[0, 0], [0.5, 1], [0.5, 0]]
    head, outs = build(), outputs(3)
    found = losses_of(head, outs, *labels)
    rest = [[level[1:] for level in levels] for levels in outs]
    expected = losses_of(head, rest, *labels[1:])
    for name in ('loss_bbox', 'loss_dfl'):
        torch.testing.assert_close(found[name], expected[name] * 3 / 2)


def test_no_boxes_at_all():
    found = losses_of(build(), outputs(1), boxes([], []))
    # every place is background, over 1
    logits = torch.cat([x.flatten() for x in outputs(1)[0]])
    torch.testing.assert_close(
        found['loss_cls'], 0.5 * F.softplus(logits).sum()
    )


def test_no_weights():
    assert box_weights([boxes(FIRST), boxes(SECOND)]) is None
    assert box_weights(torch.zeros(0, 6)) is None


def test_mmyolos_assigner_does_not_tell_the_boxes():
    head = build(assigner='mmyolo.BatchTaskAlignedAssigner')
    losses_of(head, outputs(1), boxes(FIRST))
    with pytest.raises(InputError, match="type='SparseTaskAlignedAssigner'"):
        losses_of(head, outputs(1), boxes(FIRST, [1.0, 1.0]))


@pytest.mark.parametrize('kind', ['YOLOv9Head', 'MambaHead'])
def test_ignored__their_free_places_have_no_class_loss(kind):
    head, outs = build(kind), outputs(2, kind)
    labels = [boxes(FIRST), boxes(SECOND)]
    everything, nothing = boxes([[-1.0, -1, 999, 999]]), boxes([])

    def losses(*ignored):
        return head.loss_by_feat(*outs, labels, [{}, {}], ignored or None)

    plain, all_of_it = losses(), losses(everything, everything)
    for key, value in losses(None, nothing).items():
        torch.testing.assert_close(value, plain[key])
    for key in ('loss_bbox', 'loss_dfl'):
        torch.testing.assert_close(all_of_it[key], plain[key])
    half = losses(None, everything)
    assert 0 < all_of_it['loss_cls'] < half['loss_cls'] < plain['loss_cls']
