import math
from typing import Optional, Sequence, Tuple

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

LAST_OCTAVE = 6  # of the positional encoding


def box_masks(boxes: Tensor, size: int) -> Tensor:
    """Draw boxes, with soft edges where they cut a pixel.

    Args:
        boxes (Tensor): ``(..., 4)``, x1, y1, x2, y2 from 0 to 1.
        size (int): Side of the masks.

    Returns:
        Tensor: ``(..., size, size)``, the share of each pixel that lies in
        the box.
    """
    edges = torch.arange(size, device=boxes.device, dtype=boxes.dtype)

    def covered(low: Tensor, high: Tensor) -> Tensor:
        low, high = low[..., None] * size, high[..., None] * size
        return (
            torch.minimum(high, edges + 1) - torch.maximum(low, edges)
        ).clamp(0, 1)

    x1, y1, x2, y2 = boxes.unbind(-1)
    return covered(y1, y2)[..., :, None] * covered(x1, x2)[..., None, :]


def sinusoids(values: Tensor, dims: int) -> Tensor:
    """Positional encoding of numbers from 0 to 1.

    Args:
        values (Tensor): ``(..., K)``.
        dims (int): Of all together, a multiple of ``2 K``.

    Returns:
        Tensor: ``(..., dims)``: sine and cosine of ``dims / 2 K`` frequencies,
        from half a period over the whole range on, an octave apart, or closer
        so that the last has 32 periods: a window has a few hundred px.
    """
    count = dims // (2 * values.shape[-1])
    last = min(count - 1, LAST_OCTAVE)
    octaves = math.pi * 2.0 ** torch.linspace(
        0, last, count, device=values.device
    )
    angles = values[..., None] * octaves
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)


@MODELS.register_module()
class DefectConditionEncoder(BaseModule):
    """What is to be painted where (eqs 11 to 13 of the paper).

    A token a box: ``e_cls = Embedding(class) + PE(position)``, the position
    being the box's centre; ``e_spa = CNN(mask) + MLP(box)``, the mask being
    that of the box; and ``c = CrossAttention(e_cls, e_spa) + e_cls + e_spa``,
    where the tokens of an image see each other. The tokens go to the UNet's
    cross-attention.

    Args:
        num_classes (int): C.
        dims (int): Of a token, a multiple of 8. Defaults to 128.
        num_heads (int): Of the cross-attention. Defaults to 4.
        mask_size (int): Side of the masks in px. Defaults to 32.
        init_cfg (dict, optional): Defaults to None.
    """

    def __init__(
        self,
        num_classes: int,
        dims: int = 128,
        num_heads: int = 4,
        mask_size: int = 32,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg)
        self.config = dict(
            num_classes=num_classes,
            dims=dims,
            num_heads=num_heads,
            mask_size=mask_size,
        )
        self.num_classes = num_classes
        self.dims = dims
        self.mask_size = mask_size
        self.embedding = nn.Embedding(num_classes + 2, dims)
        self.mask_cnn = nn.Sequential(
            *(
                layer
                for low, high in ((1, 16), (16, 32), (32, 64))
                for layer in (
                    nn.Conv2d(low, high, 3, stride=2, padding=1),
                    nn.SiLU(),
                )
            ),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(64 * 16, dims),
        )
        self.box_mlp = nn.Sequential(
            nn.Linear(4, dims), nn.SiLU(), nn.Linear(dims, dims)
        )
        self.attention = nn.MultiheadAttention(
            dims, num_heads, batch_first=True
        )

    @property
    def nothing(self) -> int:
        """Label of no condition: for guidance, and images without a box."""
        return self.num_classes

    @property
    def clean(self) -> int:
        """Label of a box to be painted without a defect."""
        return self.num_classes + 1

    def forward(
        self, labels: Tensor, boxes: Tensor, present: Tensor
    ) -> Tensor:
        """Encode conditions.

        Args:
            labels (Tensor): ``(B, N)``, classes, :attr:`nothing` or
                :attr:`clean`.
            boxes (Tensor): ``(B, N, 4)``, corners from 0 to 1.
            present (Tensor): ``(B, N)``, bool, False for padding; one of each
                image at least is True.

        Returns:
            Tensor: ``(B, N, dims)``; rows of padding mean nothing.
        """
        count = labels.shape[:2]
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        classes = self.embedding(labels) + sinusoids(centres, self.dims)
        masks = box_masks(boxes, self.mask_size).flatten(0, 1)[:, None]
        spatial = self.mask_cnn(masks).unflatten(0, count)
        spatial = spatial + self.box_mlp(boxes)
        mixed, _ = self.attention(
            classes,
            spatial,
            spatial,
            key_padding_mask=~present,
            need_weights=False,
        )
        return mixed + classes + spatial


def pad_conditions(
    labels: Sequence[Tensor],
    boxes: Sequence[Tensor],
    nothing: int,
) -> Tuple[Tensor, Tensor, Tensor]:
    """Bring images with different numbers of boxes to one shape.

    Args:
        labels (Sequence[Tensor]): Of each image ``(n,)``.
        boxes (Sequence[Tensor]): Of each image ``(n, 4)``.
        nothing (int): Label of an image without a box, the whole of which is
            its box.

    Returns:
        tuple[Tensor, Tensor, Tensor]: ``labels``, ``boxes``, ``present`` of
        :meth:`DefectConditionEncoder.forward`.
    """
    longest = max(1, *map(len, labels))
    device = boxes[0].device
    shape = len(labels), longest
    all_labels = torch.full(shape, nothing, device=device)
    all_boxes = torch.tensor([0.0, 0.0, 1.0, 1.0], device=device)
    all_boxes = all_boxes.repeat(*shape, 1)
    present = torch.zeros(shape, dtype=torch.bool, device=device)
    for i, (label, box) in enumerate(zip(labels, boxes)):
        all_labels[i, : len(label)] = label
        all_boxes[i, : len(label)] = box
        present[i, : max(1, len(label))] = True
    return all_labels, all_boxes, present
