import hashlib
import json
from typing import Iterable, List, Optional, Sequence, Tuple

import cv2
import mmcv
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .cache import FeatureCache
from .models import LoadedCLIP
from .prompts import Prompts, encode_prompts
from .regions import (
    RegionSettings,
    centered,
    check_dense,
    crop,
    dense_features,
    expand_boxes,
    image_parts,
    pool_regions,
    squash,
)
from .unreadable_image import OUT_OF_FILES, UnreadableImageError

MODES = ('cosine', 'softmax', 'contrast')
# Parts of an image that may show background: a grid of its own size.
GRID = 4
MAX_COVERED = 0.1  # share of a part that boxes may cover


class CLIPScorer:
    """How well images and boxes fit to prompts.

    Args:
        clip (LoadedCLIP): The model.
        prompts (Prompts): What it may see.
        regions (RegionSettings): How boxes are embedded.
        mode (str): ``'cosine'``, eq 18 of the paper. ``'softmax'``, the share
            of a class among all prompts: those of other classes, of badly
            placed crops and of no defect. ``'contrast'``, the share of the
            class against what its prompt says about background parts of the
            same image (``occupied`` of :meth:`region_scores`). Defaults to
            ``'softmax'``.
        cache_dir (str, optional): Folder of features. Defaults to
            ``~/.cache/dsym/clip``.
        device (torch.device or str): Defaults to the CPU.
        batch_size (int): Images or crops encoded at once. Defaults to 32.

    Attributes:
        key (str): Names what features depend on: model and input.
        score_key (str): Names what scores depend on: that, mode, prompts and
            how boxes are embedded.

    Raises:
        InputError: For another mode, prompts without ``normal`` where they
            are needed, or ``'dense'`` with a tower that has no features.
    """

    def __init__(
        self,
        clip: LoadedCLIP,
        prompts: Prompts,
        regions: RegionSettings,
        mode: str = 'softmax',
        cache_dir: Optional[str] = None,
        device: str = 'cpu',
        batch_size: int = 32,
    ) -> None:
        if mode not in MODES:
            raise InputError(
                f'clip mode {mode!r}: give one of {", ".join(MODES)}'
            )
        if mode == 'softmax' and not prompts.normal:
            raise InputError(
                "clip mode 'softmax' compares with prompts of no defect: give "
                'prompts.normal'
            )
        if regions.way == 'dense':
            check_dense(clip.model)
        self.clip = clip.to(device).eval().requires_grad_(False)
        self.prompts = prompts
        self.regions = regions
        self.mode = mode
        self.device = device
        self.batch_size = batch_size
        self.scale = clip.model.logit_scale.exp().clamp(max=100).item()
        with torch.no_grad():
            self.texts = encode_prompts(
                clip.model,
                [clip.tokenizer(x).to(device) for x in prompts.groups],
                prompts.center,
            )
        if not self.texts.isfinite().all():
            raise InputError('clip: embeddings of the prompts are not finite')
        # what features depend on: weights and input
        parts = [clip.fingerprint(), regions.image_size, regions.center]
        parts += [clip.mean.flatten().tolist(), clip.std.flatten().tolist()]
        # activations, heads and pooling are no weights
        parts += [clip.model_cfg, clip.size]
        self.key = short_hash(parts)
        # what scores depend on
        texts = [prompts.groups, prompts.center]
        self.score_key = short_hash([self.key, mode, texts, regions.to_dict()])
        self.embeddings = FeatureCache(
            self._encode_images, f'{self.key}-image', cache_dir, batch_size
        )
        self.dense = FeatureCache(
            self._encode_dense, f'{self.key}-dense', cache_dir, batch_size
        )

    def load(self, path: str) -> Tensor:
        """Read an image ``(3, H, W)``, RGB from 0 to 255.

        Raises:
            UnreadableImageError: If it cannot be read.
        """
        try:
            image = mmcv.imread(path)
        except (OSError, cv2.error) as error:
            if getattr(error, 'errno', None) in OUT_OF_FILES:
                raise
            image = None
        if image is None:
            raise UnreadableImageError(path, 'as an image')
        image = torch.from_numpy(np.ascontiguousarray(image[..., ::-1]))
        image = image.permute(2, 0, 1).float()
        return centered(image) if self.regions.center else image

    @torch.no_grad()
    def _encode_dense(self, paths: Sequence[str]) -> Tensor:
        size = self.regions.image_size
        images = torch.stack([squash(self.load(x), size) for x in paths])
        images = self.clip.normalize(images.to(self.device))
        images = images.contiguous(memory_format=torch.channels_last)
        return dense_features(self.clip.model.visual, images).contiguous()

    @torch.no_grad()
    def _encode_images(self, paths: Sequence[str]) -> Tensor:
        size = self.clip.size
        images = torch.stack([squash(self.load(x), size) for x in paths])
        return self._encode(images.to(self.device))

    def _encode(self, images: Tensor) -> Tensor:
        """Embed images of the tower's size, to length 1."""
        images = self.clip.normalize(images)
        images = images.contiguous(memory_format=torch.channels_last)
        return F.normalize(self.clip.model.encode_image(images).float(), dim=1)

    def warm(self, paths: Iterable[str], share: bool = False) -> int:
        """Make the features of images that are missing.

        Args:
            paths (Iterable[str]): Image files; those that cannot be read are
                left out, with a warning: a training replaces them by others.
            share (bool): Divide them among all ranks, which must all call
                this. Defaults to False.

        Returns:
            int: How many this process made.
        """
        dense = self.regions.way == 'dense'
        cache = self.dense if dense else self.embeddings
        return cache.warm(paths, skip=True, share=share)

    def describe(self, paths: Sequence[str]) -> Tensor:
        """Describe whole images: their texture, if it costs nothing.

        Args:
            paths (Sequence[str]): Image files.

        Returns:
            Tensor: ``(B, D)``, the mean of ``'dense'`` features, which has
            grain and blur that an embedding has learnt to leave out; the
            embedding otherwise.
        """
        if self.regions.way == 'dense':
            return self.dense(paths).to(self.device).float().mean((2, 3))
        return self.embeddings(paths).to(self.device)

    @torch.no_grad()
    def embed_regions(
        self,
        paths: Sequence[str],
        boxes: Sequence[Tensor],
        shapes: Sequence[Tuple[int, int]],
    ) -> List[Tensor]:
        """Embed boxes of images.

        Args:
            paths (Sequence[str]): Image files.
            boxes (Sequence[Tensor]): Of each image ``(N, 4)`` in its pixels.
            shapes (Sequence[tuple[int]]): Height and width of each.

        Returns:
            list[Tensor]: Of each image ``(N, D)``, of length 1.

        Raises:
            InputError: If an embedding is not finite.
        """
        counts = [len(x) for x in boxes]
        boxes = [x.float().to(self.device) for x in boxes]
        used = [i for i, count in enumerate(counts) if count]
        total = self.texts.new_zeros(sum(counts), self.texts.shape[1])
        if used:
            names = [paths[i] for i in used]
            if self.regions.way == 'dense':
                features = self.dense(names).to(self.device)
                size = self.regions.image_size
                scales = []
                for i in used:
                    height, width = shapes[i][:2]
                    x, y = size / width, size / height
                    scales.append(total.new_tensor([x, y, x, y]))
            else:
                images = [self.load(x).to(self.device) for x in names]
            for factor in self.regions.expand:
                larger = [expand_boxes(boxes[i], factor) for i in used]
                if self.regions.way == 'dense':
                    embedded = pool_regions(
                        self.clip.model.visual, features, larger, scales
                    )
                else:
                    crops = [
                        crop(image, x, self.clip.size)
                        for image, x in zip(images, larger)
                    ]
                    parts = torch.cat(crops).split(self.batch_size)
                    embedded = torch.cat([self._encode(x) for x in parts])
                total = total + F.normalize(embedded.float(), dim=1)
            total = F.normalize(total, dim=1)
        parts = [*total.split(counts)]
        for path, part in zip(paths, parts):
            if not part.isfinite().all():
                raise InputError(
                    f'clip: scores of boxes in {path} are not finite: check '
                    'the model, or run it in float32'
                )
        return parts

    def grade(self, embedded: Tensor, background: Tensor) -> Tensor:
        """Score embeddings by the mode.

        Args:
            embedded (Tensor): ``(N, D)``.
            background (Tensor): ``(M, D)``, of background parts; for
                ``'contrast'`` alone.

        Returns:
            Tensor: ``(N, C)``, for every class.
        """
        classes = len(self.prompts.classes)
        similar = embedded @ self.texts.T
        if self.mode == 'cosine':
            return similar[:, :classes]
        if self.mode == 'softmax':
            return (self.scale * similar).softmax(1)[:, :classes]
        usual = (background @ self.texts.T)[:, :classes].mean(0)
        return torch.sigmoid(self.scale * (similar[:, :classes] - usual))

    def region_scores(
        self,
        paths: Sequence[str],
        boxes: Sequence[Tensor],
        shapes: Sequence[Tuple[int, int]],
        occupied: Optional[Sequence[Tensor]] = None,
    ) -> List[Tensor]:
        """Score boxes for every class.

        Args:
            paths (Sequence[str]): As in :meth:`embed_regions`.
            boxes (Sequence[Tensor]): As there.
            shapes (Sequence[tuple[int]]): As there.
            occupied (Sequence[Tensor], optional): Of each image ``(M, 4)``,
                where it may show a defect: ``'contrast'`` takes background
                from elsewhere. Defaults to None, the boxes themselves.

        Returns:
            list[Tensor]: Of each image ``(N, C)``.
        """
        if self.mode != 'contrast':
            embedded = self.embed_regions(paths, boxes, shapes)
            none = self.texts[:0]
            return [self.grade(x, none) for x in embedded]
        occupied = boxes if occupied is None else occupied
        parts = [
            background_parts(x, shape) if len(asked) else asked
            for asked, x, shape in zip(boxes, occupied, shapes)
        ]
        both = [
            torch.cat([x.float(), y.to(x.device).float()])
            for x, y in zip(boxes, parts)
        ]
        embedded = self.embed_regions(paths, both, shapes)
        return [
            self.grade(x[: len(y)], x[len(y) :])
            for x, y in zip(embedded, boxes)
        ]

    def image_scores(
        self, paths: Sequence[str], shapes: Sequence[Tuple[int, int]]
    ) -> Tensor:
        """Score images: is there any defect?

        With ``'cosine'`` the greatest similarity to a class, as in the paper;
        otherwise the share of all prompts but that of no defect. Where parts
        cost nothing (``'dense'``) the highest score of the image and of the
        parts of a grid counts: a small defect is lost in a whole image.

        Args:
            paths (Sequence[str]): Image files.
            shapes (Sequence[tuple[int]]): Height and width of each.

        Returns:
            Tensor: ``(B,)``.
        """
        return self.grade_images(self.image_embeddings(paths, shapes))

    def grade_images(self, embedded: Tensor) -> Tensor:
        """Score images that are embedded already.

        Args:
            embedded (Tensor): ``(B, P, D)``, of :meth:`image_embeddings`.

        Returns:
            Tensor: ``(B,)``, as :meth:`image_scores`.
        """
        similar = embedded @ self.texts.T
        if self.mode == 'cosine' or not self.prompts.normal:
            scores = similar[..., : len(self.prompts.classes)].amax(-1)
        else:
            scores = 1 - (self.scale * similar).softmax(-1)[..., -1]
        return scores.amax(1)

    def image_embeddings(
        self, paths: Sequence[str], shapes: Sequence[Tuple[int, int]]
    ) -> Tensor:
        """Embed images and, of ``'dense'`` features, parts of them.

        Args:
            paths (Sequence[str]): Image files.
            shapes (Sequence[tuple[int]]): Height and width of each.

        Returns:
            Tensor: ``(B, P, D)``, the whole image first.
        """
        if self.regions.way == 'crops':
            return self.embeddings(paths)[:, None].to(self.device)
        boxes = [image_parts(shape) for shape in shapes]
        return torch.stack(self.embed_regions(paths, boxes, shapes))


def short_hash(parts: list) -> str:
    """Name settings: 16 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def background_parts(boxes: Tensor, shape: Tuple[int, int]) -> Tensor:
    """Parts of an image that boxes do not cover; if there are none, all of it.

    Args:
        boxes (Tensor): ``(N, 4)``.
        shape (tuple[int]): Height and width.

    Returns:
        Tensor: ``(M, 4)``, cells of a grid of 4 x 4.
    """
    height, width = shape[:2]
    y, x = torch.meshgrid(
        torch.arange(GRID), torch.arange(GRID), indexing='ij'
    )
    start = torch.stack([x.flatten(), y.flatten()], 1).float()
    scale = torch.tensor([width, height]) / GRID
    cells = torch.cat([start * scale, (start + 1) * scale], 1)
    boxes = boxes.float().cpu()
    left = torch.maximum(cells[:, None, :2], boxes[None, :, :2])
    right = torch.minimum(cells[:, None, 2:], boxes[None, :, 2:])
    covered = (right - left).clamp(min=0).prod(-1).sum(1) / scale.prod()
    free = cells[covered <= MAX_COVERED]
    return free if len(free) else image_parts(shape)[:1]
