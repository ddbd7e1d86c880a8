"""ConsistencyLoss: eq 2 between two views of an image."""

import math

import pytest
import torch
from mmengine.registry import MODELS

STRIDE = 8
REG_MAX = 8


def build(**settings):
    """Both terms with weight 1, unless said otherwise."""
    return MODELS.build(
        dict(type='ConsistencyLoss', box_weight=1.0, **settings)
    )


def homography(scale_x=1.0, scale_y=1.0, x=0.0, y=0.0):
    return torch.tensor([[[scale_x, 0, x], [0, scale_y, y], [0, 0, 1]]])


def logit(*probabilities):
    """As (1, num_classes, 1, 1)."""
    return torch.tensor(probabilities).logit()[None, :, None, None]


def bins_of(distances, height=50.0):
    """Logits (1, H * W, 4, REG_MAX) with one high bin a side."""
    places = distances.flatten(2).transpose(1, 2).long()
    return height * torch.eye(REG_MAX)[places]


def compare(
    scores,
    bins,
    teacher,
    boxes,
    to_student=None,
    shape=None,
    student_shape=None,
    **cfg,
):
    """One level of one image."""
    height, width = teacher.shape[-2:]
    losses, disagreement = build(**cfg)(
        [scores],
        [bins],
        [teacher],
        [boxes],
        homography() if to_student is None else to_student,
        [shape or (height * STRIDE, width * STRIDE)],
        [student_shape or (height * STRIDE, width * STRIDE)],
        [STRIDE],
    )
    return (
        losses['loss_consistency_cls'],
        losses['loss_consistency_box'],
        disagreement,
    )


def random_maps(seed=0, height=4, width=6):
    """Sure scores of 3 classes, and whole distances of 0 to 6 strides."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 + torch.randn(1, 3, height, width, generator=generator)
    boxes = torch.randint(7, (1, 4, height, width), generator=generator)
    return scores, boxes.float()


def test_identical__nothing_to_lose():
    """On two levels, not square, in a batch of two."""
    one = [torch.cat([random_maps(s, 4, 6)[0] for s in (0, 1)])]
    one.append(torch.cat([random_maps(s, 2, 3)[0] for s in (2, 3)]))
    boxes = [torch.cat([random_maps(s, 4, 6)[1] for s in (0, 1)])]
    boxes.append(torch.cat([random_maps(s, 2, 3)[1] for s in (2, 3)]))
    bins = [torch.cat([bins_of(box[i : i + 1]) for i in (0, 1)])
            for box in boxes]  # fmt: skip
    shapes = [(32, 48)] * 2
    arguments = [homography().expand(2, 3, 3), shapes, shapes, [8, 16]]
    losses, disagreement = build()(one, bins, one, boxes, *arguments)
    assert losses['loss_consistency_cls'] == pytest.approx(0, abs=1e-9)
    assert losses['loss_consistency_box'] == pytest.approx(0, abs=1e-6)
    assert disagreement == pytest.approx(0, abs=1e-6)
    # the coarse level takes part: 0.1 strides there are not seen otherwise
    bins[1] = bins[1].flip(-1)
    losses, _ = build()(one, bins, one, boxes, *arguments)
    assert losses['loss_consistency_box'] > 1


def no_boxes(places, teacher):
    """The teacher's are larger than bins can tell."""
    bins = torch.zeros(1, places, 4, REG_MAX)
    return bins, teacher, torch.full((1, 4, 1, places), 50.0)


@pytest.mark.parametrize('places', [1, 3])
def test_class_loss_by_hand(places):
    """(0.4^2 + 0.55^2) a place, over the teacher's 0.9, 1 at the least."""
    student = logit(0.5, 0.75).expand(1, 2, 1, places)
    teacher = logit(0.9, 0.2).expand(1, 2, 1, places)
    loss, box, disagreement = compare(
        student, *no_boxes(places, teacher), cls_weight=2.0
    )
    total = max(1, 0.9 * places)
    assert loss.item() == pytest.approx(2 * places * 0.4625 / total)
    # the larger difference, 0.55, weighted with 0.9
    assert disagreement.item() == pytest.approx(places * 0.55 * 0.9 / total)
    assert box == 0


def test_background_has_little_loss():
    """Three places of score 0.01: their sum of 0.03 is not divided by."""
    student = logit(0.11).expand(1, 1, 1, 3)
    teacher = logit(0.01).expand(1, 1, 1, 3)
    loss = compare(student, *no_boxes(3, teacher))[0]
    assert loss.item() == pytest.approx(3 * 0.1**2, rel=1e-4)


def two_bins(places):
    """Distributions of 0.6 at 4 and 0.3 at 5 on every side."""
    bins = torch.full((1, places, 4, REG_MAX), 0.1 / (REG_MAX - 2))
    bins[..., 4], bins[..., 5] = 0.6, 0.3
    return bins.log()


def test_box_loss_by_hand():
    """4.25 lies a quarter of the way from bin 4 to bin 5."""
    boxes = torch.full((1, 4, 1, 3), 4.25)
    by_hand = -(0.75 * math.log(0.6) + 0.25 * math.log(0.3))
    # two places of 0.8: their weighted mean; the third is below box_thr
    teacher = torch.tensor([0.8, 0.8, 0.25]).logit().view(1, 1, 1, 3)
    boxes[..., 2] = 1.0
    loss = compare(teacher, two_bins(3), teacher, boxes)[1]
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)
    loss = compare(teacher, two_bins(3), teacher, boxes, box_thr=0.9)[1]
    assert loss == 0
    # one place of 0.8: its sum of weights is below 1
    teacher[..., 1] = -5
    loss = compare(teacher, two_bins(3), teacher, boxes)[1]
    assert loss.item() == pytest.approx(0.8 * by_hand, rel=1e-5)


def test_each_side_has_its_distance():
    """0.5, 2, 5.25 and 1 of left, top, right, bottom."""
    boxes = torch.tensor([0.5, 2, 5.25, 1]).view(1, 4, 1, 1)
    bins = torch.randn(
        1, 1, 4, REG_MAX, generator=torch.Generator().manual_seed(0)
    )
    left, top, right, bottom = bins[0, 0].log_softmax(-1)
    expected = -(
        (0.5 * left[0] + 0.5 * left[1])
        + top[2]
        + (0.75 * right[5] + 0.25 * right[6])
        + bottom[1]
    ) / 4  # fmt: skip
    sure = torch.full((1, 1, 1, 1), 30.0)
    loss = compare(sure, bins, sure, boxes)[1]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize('distance', [-0.5, 7.25])
def test_boxes_that_bins_cannot_tell(distance):
    """The last bin is 7; a place outside of its box is none."""
    boxes = torch.full((1, 4, 1, 1), 4.0)
    boxes[:, 2] = distance
    sure = torch.full((1, 1, 1, 1), 30.0)
    assert compare(sure, two_bins(1), sure, boxes)[1] == 0


@pytest.mark.parametrize(
    'dim, sides, matrix',
    [
        (-1, [2, 1, 0, 3], homography(-1, 1, x=48)),
        (-2, [0, 3, 2, 1], homography(1, -1, y=32)),
    ],
    ids=['horizontal', 'vertical'],
)
def test_flip(dim, sides, matrix):
    teacher, boxes = random_maps()
    student, flipped = teacher.flip(dim), boxes.flip(dim)
    loss, box, disagreement = compare(
        student, bins_of(flipped[:, sides]), teacher, boxes, matrix
    )
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert disagreement.item() == pytest.approx(0, abs=1e-5)
    assert box.item() == pytest.approx(0, abs=1e-3)
    # the map alone turned around: sides in the wrong place, 50 nats each
    assert compare(student, bins_of(flipped), teacher, boxes, matrix)[1] > 10
    assert compare(teacher, bins_of(boxes), teacher, boxes, matrix)[0] > 0.01


def test_flip_of_one_box_by_hand():
    """Left 1 and right 3 unexchanged are 50 nats off, top and bottom 0."""
    boxes = torch.tensor([1.0, 2, 3, 4]).view(1, 4, 1, 1).expand(1, 4, 4, 6)
    teacher = torch.full((1, 1, 4, 6), 30.0)
    flip = homography(-1, 1, x=48)
    loss = compare(teacher, bins_of(boxes), teacher, boxes, flip)[1]
    assert loss.item() == pytest.approx(2 / 4 * 50, rel=1e-4)


@pytest.mark.parametrize('move', [STRIDE, -STRIDE])
def test_translation_by_one_stride(move):
    """One column of the student's view shows what the teacher did not see."""
    teacher, boxes = random_maps()
    step = move // STRIDE
    student = teacher.roll(step, -1).requires_grad_()
    bins = bins_of(boxes.roll(step, -1)).requires_grad_()
    new = 0 if step > 0 else -1
    with torch.no_grad():
        student[..., new] += 3
    loss, box, _ = compare(
        student, bins, teacher, boxes, homography(x=float(move))
    )
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert box.item() == pytest.approx(0, abs=1e-3)
    loss = compare(student, bins, teacher, boxes)[0]
    assert loss.item() > 0.01


def test_zoom_of_a_box():
    """1.25 times: boxes grow, and a place sees the teacher's nearest one.

    The student's place (1, 1), at 12 px, is at 9.6 px in the teacher's view,
    in its place (1, 1), whose box of 4 strides is 12 +- 32, or 15 +- 40 in the
    student's view: 4.625 strides to the left and 5.375 to the right.
    """
    boxes = torch.full((1, 4, 4, 4), 4.0)
    teacher = torch.full((1, 1, 4, 4), -30.0)
    teacher[0, 0, :2, :2] = 30
    student = torch.full((1, 1, 4, 4), 30.0)
    bins = torch.randn(
        1, 16, 4, REG_MAX, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    loss = compare(student, bins, teacher, boxes, homography(1.25, 1.25))[1]
    (gradient,) = torch.autograd.grad(loss, bins)
    probabilities = bins[0, 5].detach().softmax(-1)
    target = torch.zeros(4, REG_MAX)
    target[:2, 4], target[:2, 5] = 0.375, 0.625
    target[2:, 5], target[2:, 6] = 0.625, 0.375
    # of cross-entropy, over 4 sides and all places' weights
    scale = (probabilities - target)[0, 4] / gradient[0, 5, 0, 4]
    torch.testing.assert_close(
        gradient[0, 5] * scale, probabilities - target, rtol=1e-3, atol=1e-4
    )
    assert scale >= 4 * 3.9  # places (0..1, 0..1) count in full


@pytest.mark.parametrize(
    'scale, counts', [(1.4, True), (0.7, True), (2.0, False), (0.5, False)]
)
def test_scales_that_are_too_different(scale, counts):
    teacher, boxes = random_maps()
    losses = compare(
        -teacher,
        bins_of(6 - boxes),
        teacher,
        boxes,
        homography(scale, scale),
    )
    assert [bool(loss > 0) for loss in losses] == [counts] * 3


def test_scale_of_one_image_leaves_the_other():
    teacher, boxes = (torch.cat([x, x]) for x in random_maps())
    student = (-teacher).requires_grad_()
    losses, _ = build()(
        [student],
        [bins_of(boxes[:1]).expand(2, -1, -1, -1)],
        [teacher],
        [boxes],
        torch.cat([homography(2, 2), homography()]),
        [(32, 48)] * 2,
        [(32, 48)] * 2,
        [STRIDE],
    )
    losses['loss_consistency_cls'].backward()
    assert not student.grad[0].any()
    assert student.grad[1].all()


@pytest.mark.parametrize('padded', ['shape', 'student_shape'])
def test_padding_of_a_view_does_not_count(padded):
    """A view of 24 x 16 px in a batch of 32 x 48."""
    teacher, boxes = random_maps()
    student = (-teacher).requires_grad_()
    bins = torch.zeros(1, 24, 4, REG_MAX, requires_grad=True)
    loss, box, _ = compare(student, bins, teacher, boxes, **{padded: (24, 16)})
    (loss + box).backward()
    inside = torch.zeros(4, 6, dtype=torch.bool)
    inside[:3, :2] = True
    assert torch.equal(student.grad[0].abs().sum(0) > 0, inside)
    assert torch.equal(bins.grad[0].flatten(1).abs().sum(1) > 0,
                       inside.flatten())  # fmt: skip
    seen = -student[..., :3, :2].detach()
    expected = (seen.sigmoid() - (-seen).sigmoid()).square().sum()
    expected /= seen.sigmoid().amax(1).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_only_the_student_learns():
    teacher, boxes = (x.requires_grad_() for x in random_maps())
    student = torch.zeros_like(teacher, requires_grad=True)
    bins = torch.zeros(1, 24, 4, REG_MAX, requires_grad=True)
    loss, box, disagreement = compare(student, bins, teacher, boxes)
    (loss + box).backward()
    assert student.grad.any()
    assert bins.grad.any()
    assert teacher.grad is None
    assert boxes.grad is None
    assert not disagreement.requires_grad


def test_places_are_exact_under_autocast():
    """bfloat16 knows pixels from 512 on to 4 px only."""
    teacher, boxes = random_maps(width=80)
    flip = homography(-1, 1, x=640 - 8 * 3)
    student = teacher.flip(-1).roll(-3, -1)
    bins = bins_of(boxes[:, [2, 1, 0, 3]].flip(-1).roll(-3, -1))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = compare(student, bins, teacher, boxes, flip)
    for value in found:
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(0, abs=1e-3)
