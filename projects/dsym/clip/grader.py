import zlib
from typing import Dict, List, Optional, Sequence, Union

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.registry import MODELS, TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .models import load_clip
from .prompts import Prompts, encode_prompts
from .region_targets import Regions, RegionSampler, describe, soft_targets
from .regions import (
    RegionSettings,
    check_dense,
    crop,
    dense_features,
    expand_boxes,
    image_parts,
    pool_regions,
)


@MODELS.register_module()
class CLIPGrader(BaseModel):
    """CLIP that learns to grade boxes of defects.

    As ClipGrader: true boxes, badly placed ones and background are drawn from
    labelled images, and boxes that detectors made there if the data set is a
    :class:`DetectedBoxDataset`. The similarity of their embeddings to the
    texts of :class:`Prompts` is trained by cross-entropy over all groups: a
    well placed crop is close to its class's defect text, further from those
    of other classes, of badly placed crops and of no defect.

    Args:
        clip (str or dict): As in :func:`load_clip`; a dict trains from
            scratch.
        classes (Sequence[str]): Class names in label order.
        prompts (dict): Of :class:`Prompts`, with ``misplaced`` and
            ``normal``.
        pretrained (str, optional): As in :func:`load_clip`. Defaults to None.
        regions (dict): Of :class:`RegionSettings`. Defaults to its own.
        sampler (dict): ``RegionSampler``. Defaults to its own.
        iou_ramp (tuple[float]): As in :func:`soft_targets`. Defaults to
            (0.35, 0.65): half-right at 0.5.
        parts (bool): Learn also from the parts of images by which
            :class:`CLIPScorer` scores whole images, and from images without
            any defect. Defaults to False.
        freeze_text (bool): Train the image tower alone. Defaults to False.
        data_preprocessor (dict, optional): Of the detector's pipelines, which
            give images (B, 3, S, S). Defaults to ``mmdet.DetDataPreprocessor``
            to RGB.

    Raises:
        InputError: If prompts lack groups, or ``'dense'`` is asked of a tower
            that has no features to pool.
    """

    def __init__(
        self,
        clip: Union[str, dict],
        classes: Sequence[str],
        prompts: dict,
        pretrained: Optional[str] = None,
        regions: Optional[dict] = None,
        sampler: Optional[dict] = None,
        iou_ramp: tuple = (0.35, 0.65),
        parts: bool = False,
        freeze_text: bool = False,
        data_preprocessor: Optional[dict] = None,
    ) -> None:
        super().__init__(
            data_preprocessor
            or dict(type='mmdet.DetDataPreprocessor', bgr_to_rgb=True)
        )
        self.clip = load_clip(clip, pretrained)
        self.prompts = Prompts(tuple(classes), **prompts)
        if not (self.prompts.misplaced and self.prompts.normal):
            raise InputError(
                'CLIPGrader: prompts.misplaced or prompts.normal is empty: '
                'give texts for both'
            )
        self.regions = RegionSettings(**(regions or {}))
        if self.regions.way == 'dense':
            check_dense(self.clip.model)
        self.sampler: RegionSampler = TASK_UTILS.build(
            {'type': 'RegionSampler', **(sampler or {})}
        )
        self.iou_ramp = iou_ramp
        self.parts = parts
        if freeze_text:
            self.clip.model.lock_text_tower()
        self.clip.settings = dict(
            prompts=self.prompts.to_dict(),
            regions=self.regions.to_dict(),
        )
        self.tokens = [self.clip.tokenizer(x) for x in self.prompts.groups]

    def embed(self, images: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Embed regions.

        Args:
            images (Tensor): ``(B, 3, H, W)``, RGB from 0 to 255.
            boxes (Sequence[Tensor]): Of each image ``(N, 4)``.

        Returns:
            Tensor: ``(sum of N, D)``, of length 1.
        """
        visual = self.clip.model.visual
        total: Union[Tensor, float] = 0.0
        if self.regions.way == 'dense':
            features = dense_features(visual, self.clip.normalize(images))
        for factor in self.regions.expand:
            larger = [expand_boxes(x, factor) for x in boxes]
            if self.regions.way == 'dense':
                ones = [x.new_ones(4) for x in boxes]
                embedded = pool_regions(visual, features, larger, ones)
            else:
                crops = [
                    crop(image, x, self.clip.size)
                    for image, x in zip(images, larger)
                ]
                crops = self.clip.normalize(torch.cat(crops))
                embedded = visual(crops)
            total = total + F.normalize(embedded.float(), dim=1)
        return F.normalize(total, dim=1)

    def logits(self, images: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Scaled similarity of regions ``(N, groups)`` to the prompts."""
        model = self.clip.model
        texts = encode_prompts(
            model,
            [x.to(images.device) for x in self.tokens],
            self.prompts.center,
        )
        scale = model.logit_scale.exp().clamp(max=100)
        embedded = self.embed(images, boxes)
        # bfloat16 would round logits up to 100 to halves
        with torch.autocast(images.device.type, enabled=False):
            return scale * embedded @ texts.float().T

    def forward(
        self,
        inputs: Tensor,
        data_samples: List[DetDataSample],
        mode: str = 'loss',
    ) -> Union[Dict[str, Tensor], List[DetDataSample]]:
        """Losses of regions, or their grades.

        Args:
            inputs (Tensor): ``(B, 3, H, W)``.
            data_samples (list[DetDataSample]): With ``gt_instances``, and
                ``detected`` if :class:`DetectedBoxDataset` gives it.
            mode (str): 'loss' or 'predict'. Defaults to 'loss'.

        Returns:
            dict[str, Tensor] or list[DetDataSample]: ``loss``; or the samples
            with ``regions``: ``bboxes``, ``labels``, ``ious`` of regions
            drawn as in training, always the same, and ``grades`` ``(N, C)``,
            the share of each class's defect text.
        """
        drawn = []
        for sample in data_samples:
            generator = None
            if mode == 'predict':  # the same in every evaluation
                seed = zlib.crc32(str(sample.img_id).encode())
                generator = torch.Generator().manual_seed(seed)
            shape = sample.batch_input_shape
            truth = sample.gt_instances
            found = sample.get('detected')
            drawn.append(self.sampler(truth, *shape, generator, found))
            if self.parts and mode == 'loss':
                parts = describe(image_parts(shape).to(inputs.device), truth)
                both = zip(drawn.pop(), parts)
                drawn.append(Regions(*map(torch.cat, both)))
        logits = self.logits(inputs, [x.boxes for x in drawn])
        classes = len(self.prompts.classes)
        if mode == 'predict':
            grades = logits.softmax(1)[:, :classes]
            return add_grades(data_samples, drawn, grades)
        if not len(logits):  # no image of the batch has a true box
            return dict(loss=logits.sum())
        targets = soft_targets(drawn, classes, self.iou_ramp)
        accuracy = (logits.argmax(1) == targets.argmax(1)).float().mean()
        return dict(loss=F.cross_entropy(logits, targets), accuracy=accuracy)


def add_grades(
    samples: List[DetDataSample], drawn: List[Regions], grades: Tensor
) -> List[DetDataSample]:
    """Give samples their regions and the grades ``(N, C)`` of these."""
    parts = grades.split([len(x.boxes) for x in drawn])
    for sample, regions, part in zip(samples, drawn, parts):
        sample.regions = InstanceData(
            bboxes=regions.boxes,
            labels=regions.labels,
            ious=regions.ious,
            grades=part,
        )
    return samples
