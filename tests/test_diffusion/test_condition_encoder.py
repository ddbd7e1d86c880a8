import pytest
import torch

from dsym.diffusion import DefectConditionEncoder
from dsym.diffusion.condition_encoder import (
    box_masks,
    pad_conditions,
    sinusoids,
)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return DefectConditionEncoder(num_classes=6, dims=16).eval()


def test_box_masks__count_pixels():
    masks = box_masks(torch.tensor([[0.25, 0.5, 0.75, 1.0]]), 8)
    assert masks.shape == (1, 8, 8)
    assert masks[0].sum() == 4 * 4
    assert (masks[0, 4:, 2:6] == 1).all()


def test_box_masks__share_of_a_pixel():
    # 0.3 of 4 px is 1.2 px wide, 0.5 px high
    mask = box_masks(torch.tensor([0.0, 0.0, 0.3, 0.125]), 4)
    torch.testing.assert_close(
        mask[0], torch.tensor([0.5, 0.1, 0.0, 0.0]), atol=1e-6, rtol=0
    )


def test_sinusoids__by_hand():
    values = torch.tensor([[0.25, 1.0]])
    code = sinusoids(values, 8)
    pi = torch.pi
    expected = [pi / 4, pi / 2]
    want = torch.tensor([*expected]).sin().tolist()
    want += torch.tensor([*expected]).cos().tolist()
    want += torch.tensor([pi, 2 * pi]).sin().tolist()
    want += torch.tensor([pi, 2 * pi]).cos().tolist()
    torch.testing.assert_close(code[0], torch.tensor(want))


def test_sinusoids__no_finer_than_a_pixel():
    """Of 128 dimensions the last has 32 periods: 4 px of a window of 128."""
    values = torch.tensor([[0.3, 0.3 + 2 / 64]])
    near, far = sinusoids(values, 128)[0].view(2, 2, 32)
    torch.testing.assert_close(
        near[0, -1], torch.tensor(64 * torch.pi * 0.3).sin()
    )
    # a whole period further: the same there, and nowhere else
    assert (near[0, -1] - far[0, -1]).abs() < 1e-3
    assert ((near - far).abs().amax(0)[:-1] > 1e-2).all()


def test_equations_11_to_13__of_one_box(encoder):
    """With one token softmax is 1: attention is its value's projection."""
    labels = torch.tensor([[2]])
    boxes = torch.tensor([[[0.1, 0.2, 0.5, 0.8]]])
    tokens = encoder(labels, boxes, torch.ones(1, 1, dtype=torch.bool))
    centre = torch.tensor([[[0.3, 0.5]]])
    e_cls = encoder.embedding(labels) + sinusoids(centre, 16)
    e_spa = encoder.mask_cnn(box_masks(boxes[0], 32)[None])[None]
    e_spa = e_spa + encoder.box_mlp(boxes)
    attention = encoder.attention
    value = attention.in_proj_weight[32:] @ e_spa[0, 0]
    value = value + attention.in_proj_bias[32:]
    mixed = attention.out_proj(value)
    torch.testing.assert_close(tokens[0, 0], mixed + e_cls[0, 0] + e_spa[0, 0])


def test_equation_13__of_two_boxes(encoder):
    """softmax(q k^T / sqrt(d)) v of 4 heads, q of e_cls, k and v of e_spa."""
    labels = torch.tensor([[2, 5]])
    boxes = torch.tensor([[[0.1, 0.2, 0.5, 0.8], [0.5, 0.0, 1.0, 0.3]]])
    tokens = encoder(labels, boxes, torch.ones(1, 2, dtype=torch.bool))
    centres = torch.tensor([[0.3, 0.5], [0.75, 0.15]])
    e_cls = encoder.embedding(labels[0]) + sinusoids(centres, 16)
    e_spa = encoder.mask_cnn(box_masks(boxes[0], 32)[:, None])
    e_spa = e_spa + encoder.box_mlp(boxes[0])
    attention = encoder.attention
    weights = attention.in_proj_weight.chunk(3)
    biases = attention.in_proj_bias.chunk(3)
    q, k, v = (
        x @ w.T + b for x, w, b in zip((e_cls, e_spa, e_spa), weights, biases)
    )
    heads = []
    for dims in range(0, 16, 4):
        head = slice(dims, dims + 4)
        shares = (q[:, head] @ k[:, head].T / 4**0.5).softmax(1)
        heads.append(shares @ v[:, head])
    mixed = attention.out_proj(torch.cat(heads, 1))
    torch.testing.assert_close(tokens[0], mixed + e_cls + e_spa)


def test_padding_changes_nothing(encoder):
    labels = [torch.tensor([1, 3]), torch.tensor([2])]
    boxes = [torch.rand(2, 4).sort(1).values, torch.rand(1, 4).sort(1).values]
    both = encoder(*pad_conditions(labels, boxes, 6))
    alone = encoder(*pad_conditions(labels[1:], boxes[1:], 6))
    torch.testing.assert_close(both[1, :1], alone[0])


def test_pad_conditions__an_image_without_boxes_is_nothing():
    labels, boxes, present = pad_conditions(
        [torch.tensor([1, 3]), torch.zeros(0).long()],
        [torch.rand(2, 4), torch.zeros(0, 4)],
        6,
    )
    assert labels.tolist() == [[1, 3], [6, 6]]
    assert boxes[1, 0].tolist() == [0, 0, 1, 1]
    assert present.tolist() == [[True, True], [True, False]]


def test_labels__nothing_and_clean_have_embeddings_of_their_own(encoder):
    assert (encoder.nothing, encoder.clean) == (6, 7)
    assert encoder.embedding.num_embeddings == 6 + 2
    boxes = torch.tensor([[[0.1, 0.2, 0.5, 0.8]]])
    one = torch.ones(1, 1, dtype=torch.bool)
    tokens = [encoder(torch.tensor([[x]]), boxes, one) for x in range(8)]
    weights = encoder.embedding.weight
    # e_cls is the one part that the label is in
    for i in range(8):
        torch.testing.assert_close(
            (tokens[i] - tokens[0])[0, 0], weights[i] - weights[0]
        )
