from dataclasses import asdict, dataclass
from typing import Sequence, Tuple

import torch
from mmcv.ops import roi_align
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from .checks import is_number

DENSE_STRIDE = 16  # of the third stage of CLIP's ResNets
WAYS = ('crops', 'dense')
MEAN_GREY = 114.0  # that of the detector's CenterBrightness


@dataclass(frozen=True)
class RegionSettings:
    """How a box becomes an embedding.

    Args:
        way (str): ``'crops'`` sends each box through the image tower.
            ``'dense'`` sends the image once and pools its features, as
            RegionCLIP (arXiv:2112.09106): for CLIP's ResNets.
        expand (tuple[float]): Factors of the box's sides; embeddings of
            several are averaged. Defaults to (1.0, 1.5).
        image_size (int): Side in px to which images are resized for
            ``'dense'``. Defaults to 224.
        center (bool): Give every image the same mean before, as
            ``CenterBrightness``. Defaults to False.

    Raises:
        InputError: For another way, or numbers that cannot be.
    """

    way: str = 'crops'
    expand: Tuple[float, ...] = (1.0, 1.5)
    image_size: int = 224
    center: bool = False

    def __post_init__(self) -> None:
        factors = self.expand
        if (
            not isinstance(factors, (list, tuple))
            or not factors
            or not all(is_number(x) and x > 0 for x in factors)
        ):
            raise InputError(
                f'regions.expand={factors!r}: give a list of factors over 0'
            )
        if not is_number(self.image_size) or self.image_size < DENSE_STRIDE:
            raise InputError(
                f'regions.image_size={self.image_size!r}: give '
                f'{DENSE_STRIDE} px or more'
            )
        object.__setattr__(self, 'expand', tuple(factors))
        if self.way not in WAYS:
            raise InputError(
                f'regions.way={self.way!r}: give one of {", ".join(WAYS)}'
            )

    def to_dict(self) -> dict:
        """Arguments that make the same settings."""
        return asdict(self)


def check_dense(model: nn.Module) -> None:
    """Raise :class:`InputError` if a tower has no features to pool."""
    if not hasattr(model.visual, 'attnpool'):
        raise InputError(
            f"regions.way='dense' needs CLIP's ResNet, not "
            f"{type(model.visual).__name__}: set regions=dict(way='crops')"
        )


def expand_boxes(boxes: Tensor, factor: float) -> Tensor:
    """Scale boxes about their centres.

    Args:
        boxes (Tensor): ``(N, 4)``, x1, y1, x2, y2.
        factor (float): Of both sides.

    Returns:
        Tensor: ``(N, 4)``, not clipped.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) * (factor / 2)
    return torch.cat([centre - half, centre + half], dim=1)


def squash(image: Tensor, size: int) -> Tensor:
    """Resize an image to a square, whatever its shape: nothing is cut off.

    Args:
        image (Tensor): ``(3, H, W)``, 0 to 255.
        size (int): Side in px.

    Returns:
        Tensor: ``(3, size, size)``.
    """
    if image.shape[1:] == (size, size):
        return image
    return F.interpolate(
        image[None], (size, size), mode='bilinear', antialias=True
    )[0]


def centered(image: Tensor) -> Tensor:
    """Move the mean of an image ``(3, H, W)`` to that of YOLO's padding."""
    return (image + (MEAN_GREY - image.mean())).clamp(0, 255)


def pool(source: Tensor, rois: Tensor, side: int, scale: float) -> Tensor:
    """RoIAlign, averaging over all of a large region.

    mmcv's CPU kernel ignores strides (mmcv#2203): channels-last features
    would be read as if they were not. It knows no bfloat16 either.

    Args:
        source (Tensor): ``(B, C, H, W)``.
        rois (Tensor): ``(N, 5)``, index and corners.
        side (int): Of the result.
        scale (float): Pixels of ``source`` for one of the corners.

    Returns:
        Tensor: ``(N, C, side, side)``, float32.
    """
    source = source.float().contiguous()
    return roi_align(source, rois, (side, side), scale, 0, 'avg', True)


def crop(image: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cut boxes out of the original pixels.

    Args:
        image (Tensor): ``(3, H, W)``.
        boxes (Tensor): ``(N, 4)`` in its pixels; clipped to it.
        size (int): Side of the crops in px.

    Returns:
        Tensor: ``(N, 3, size, size)``.
    """
    height, width = image.shape[1:]
    limits = boxes.new_tensor([width, height, width, height])
    boxes = torch.minimum(boxes.clamp(min=0), limits)
    rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
    return pool(image[None], rois, size, 1.0)


def dense_features(visual: nn.Module, images: Tensor) -> Tensor:
    """Features that regions are pooled from.

    Args:
        visual (nn.Module): CLIP's ResNet.
        images (Tensor): ``(B, 3, S, S)``, normalized.

    Returns:
        Tensor: ``(B, C, S / 16, S / 16)``.
    """
    x = visual.stem(images)
    return visual.layer3(visual.layer2(visual.layer1(x)))


def pool_regions(
    visual: nn.Module,
    features: Tensor,
    boxes: Sequence[Tensor],
    scales: Sequence[Tensor],
) -> Tensor:
    """Embed regions of dense features.

    The last stage and the attention pooling see a region at the size they
    have learnt from crops.

    Args:
        visual (nn.Module): CLIP's ResNet.
        features (Tensor): ``(B, C, h, w)``.
        boxes (Sequence[Tensor]): Of each image ``(N, 4)`` in its pixels.
        scales (Sequence[Tensor]): Of each image ``(4,)``: pixels of the
            resized image for one of the original.

    Returns:
        Tensor: ``(sum of N, D)``.
    """
    limit = features.shape[-1] * DENSE_STRIDE
    rois = torch.cat(
        [
            torch.cat(
                [x.new_full((len(x), 1), i), (x * s).clamp(0, limit)], dim=1
            )
            for i, (x, s) in enumerate(zip(boxes, scales))
        ]
    )
    side = visual.image_size
    side = (side if isinstance(side, int) else side[0]) // DENSE_STRIDE
    regions = pool(features, rois, side, 1 / DENSE_STRIDE)
    regions = regions.contiguous(memory_format=torch.channels_last)
    return pool_attention(visual.attnpool, visual.layer4(regions))


def pool_attention(attnpool: nn.Module, features: Tensor) -> Tensor:
    """What open_clip's ``AttentionPool2d`` gives, of its one used query alone.

    It attends from every place, then takes the mean's result. A single query
    also needs no keys and values: ``q (W_k x + b_k)`` is ``(W_k^T q) x`` and
    a number that a softmax does not see, and weights whose sum is 1 may mix
    places before ``W_v`` as well as after it. With T = 17 places of C = 512
    channels that is 4 C^2 multiplications a region in place of 4 T C^2.

    Args:
        attnpool (nn.Module): open_clip's.
        features (Tensor): ``(N, C, h, w)``.

    Returns:
        Tensor: ``(N, D)``.
    """
    places = features.flatten(2).transpose(1, 2)
    places = torch.cat([places.mean(1, keepdim=True), places], 1)
    places = places + attnpool.positional_embedding.to(places.dtype)
    heads, channels = attnpool.num_heads, places.shape[-1]

    key, value = (
        layer.weight.unflatten(0, (heads, channels // heads))
        for layer in (attnpool.k_proj, attnpool.v_proj)
    )
    query = attnpool.q_proj(places[:, 0]).unflatten(1, (heads, -1))
    query = query * (channels // heads) ** -0.5
    asked = torch.einsum('nhd,hdc->nhc', query, key)
    mixed = (asked @ places.transpose(1, 2)).softmax(-1) @ places
    pooled = torch.einsum('nhc,hdc->nhd', mixed, value).flatten(1)
    return attnpool.c_proj(pooled + attnpool.v_proj.bias)


def image_parts(shape: Tuple[int, int]) -> Tensor:
    """The whole image, and its overlapping quarters.

    Args:
        shape (tuple[int]): Height and width.

    Returns:
        Tensor: ``(10, 4)``.
    """
    height, width = shape[:2]
    steps = torch.tensor([0.0, 0.25, 0.5])
    y, x = torch.meshgrid(steps, steps, indexing='ij')
    start = torch.stack([x.flatten(), y.flatten()], 1)
    parts = torch.cat([start, start + 0.5], 1)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    return torch.cat([whole, parts]) * torch.tensor(
        [width, height, width, height]
    )
