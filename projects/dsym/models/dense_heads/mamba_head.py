from typing import Dict, List, Optional, Sequence

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmdet.utils import ConfigType
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from mmyolo.models.utils import gt_instances_preprocess
from torch import Tensor

from .doubtful_targets import box_weights, ignored_boxes
from .score_choice import choose_scores
from .yolov9_head import YOLOv9Head, flatten_levels


@MODELS.register_module()
class MambaHead(YOLOv9Head):
    """YOLOv9's head with selective scans (section 3.2 of the DSYM paper).

    What differs from :class:`YOLOv9Head` is ``head_module``, a
    :class:`MambaHeadModule`. If that one has the paper's third branch, the
    confidence, it learns the IoU of each matched box with its target; in
    prediction the class scores are multiplied with it, and the results hold
    it as ``confidences`` as well, for the selection of pseudo-labels.

    Args:
        loss_conf (dict): Of the confidences' logits. Defaults to binary
            cross-entropy with weight 1.
        **kwargs: As :class:`YOLOv9Head`.
    """

    def __init__(
        self,
        *args,
        loss_conf: ConfigType = dict(
            type='mmdet.CrossEntropyLoss', use_sigmoid=True, reduction='sum'
        ),
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.loss_conf = MODELS.build(loss_conf)

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        bbox_dist_preds: Sequence[Tensor],
        *args,
    ) -> Dict[str, Tensor]:
        """Losses of :class:`YOLOv9Head` and of the confidence.

        Args:
            cls_scores (Sequence[Tensor]): As :meth:`forward` gives them.
            bbox_preds (Sequence[Tensor]): As :meth:`forward` gives them.
            bbox_dist_preds (Sequence[Tensor]): As :meth:`forward` gives them.
            *args: The main levels' confidence logits ``(B, 1, H, W)``, if
                there are any; then truth and meta information as in
                :class:`YOLOv9Head`.

        Returns:
            dict[str, Tensor]: As in :class:`YOLOv9Head`, and ``loss_conf``.
        """
        if not getattr(self.head_module, 'with_confidence', False):
            return super().loss_by_feat(
                cls_scores, bbox_preds, bbox_dist_preds, *args
            )
        confidences, truth, metas, ignored = (*args, None)[:4]
        losses, matches = self.match_and_loss(
            cls_scores,
            bbox_preds,
            bbox_dist_preds,
            gt_instances_preprocess(truth, len(metas)),
            box_weights(truth),
            ignored_boxes(ignored),
        )
        logits = flatten_levels(confidences)[matches.image, matches.place]
        ious = bbox_overlaps(
            matches.boxes.detach(), matches.targets, is_aligned=True
        )
        losses['loss_conf'] = matches.factor * self.loss_conf(
            logits, ious[:, None], weight=matches.weights
        )
        return losses

    def predict_by_feat(
        self,
        cls_scores: List[Tensor],
        bbox_preds: List[Tensor],
        confidences: Optional[List[Tensor]] = None,
        batch_img_metas: Optional[List[dict]] = None,
        cfg: Optional[ConfigDict] = None,
        rescale: bool = True,
        with_nms: bool = True,
    ) -> List[InstanceData]:
        """Boxes of each image; as mmyolo's, which loses the confidences.

        Args:
            cls_scores (list[Tensor]): Logits ``(B, num_classes, H, W)``.
            bbox_preds (list[Tensor]): Distances ``(B, 4, H, W)`` in strides.
            confidences (list[Tensor], optional): Logits ``(B, 1, H, W)``.
                Defaults to None.
            batch_img_metas (list[dict], optional): One an image.
            cfg (ConfigDict, optional): In place of ``test_cfg``.
            rescale (bool): Whether boxes are in pixels of the original image.
                Defaults to True.
            with_nms (bool): Defaults to True.

        Returns:
            list[InstanceData]: ``bboxes``, ``scores``, ``labels`` and, with a
            confidence branch, ``confidences``.
        """
        if confidences is None:
            return super().predict_by_feat(
                cls_scores,
                bbox_preds,
                batch_img_metas=batch_img_metas,
                cfg=cfg,
                rescale=rescale,
                with_nms=with_nms,
            )
        cfg = self.test_cfg if cfg is None else cfg
        priors = torch.cat(
            self.prior_generator.grid_priors(
                [score.shape[2:] for score in cls_scores],
                dtype=cls_scores[0].dtype,
                device=cls_scores[0].device,
                with_stride=True,
            )
        )
        boxes = self.bbox_coder.decode(
            priors[:, :2], flatten_levels(bbox_preds), priors[:, 2]
        )
        certain = flatten_levels(confidences).sigmoid()
        scores = flatten_levels(cls_scores).sigmoid() * certain
        return [
            self._select(*image, cfg, meta, rescale, with_nms)
            for *image, meta in zip(boxes, scores, certain, batch_img_metas)
        ]

    def _select(
        self,
        boxes: Tensor,
        scores: Tensor,
        confidences: Tensor,
        cfg: ConfigDict,
        meta: dict,
        rescale: bool,
        with_nms: bool,
    ) -> InstanceData:
        """Choose the boxes of one image."""
        scores, labels, keep = choose_scores(scores, cfg)
        results = InstanceData(
            scores=scores,
            labels=labels,
            bboxes=boxes[keep],
            confidences=confidences[keep, 0],
        )
        if rescale:
            if 'pad_param' in meta:
                top, _, left, _ = meta['pad_param']
                results.bboxes -= results.bboxes.new_tensor([left, top] * 2)
            results.bboxes /= results.bboxes.new_tensor(
                [*meta['scale_factor']] * 2
            )
        results = self._bbox_post_process(
            results, cfg, rescale=False, with_nms=with_nms, img_meta=meta
        )
        height, width = meta['ori_shape' if rescale else 'img_shape'][:2]
        results.bboxes[:, 0::2].clamp_(0, width)
        results.bboxes[:, 1::2].clamp_(0, height)
        return results
