from copy import deepcopy
from typing import Dict, List, Optional, Tuple

import torch
from mmdet.models.detectors import SemiBaseDetector
from mmdet.models.utils import rename_loss_dict, reweight_loss_dict
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.config import ConfigDict
from mmengine.dist import get_world_size
from mmengine.registry import MODELS, TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from ..dense_heads import YOLOv9Head
from .checkpoints import double_plain, has_part
from .chosen_images import choose_images
from .dense_outputs import (
    branch_preprocessor,
    level_outputs,
    pick,
    sums_images,
    weigh_box_terms,
)
from .fitting_detectors import check_head, check_type
from .pseudo_labeler import Filter, Labeler, PseudoLabeler
from .pseudo_labels import (
    PSEUDO_CFG,
    between_views,
    homographies,
    move_boxes,
    predict_originals,
)
from .pseudo_records import PseudoRecord
from .ramp import gaussian_ramp
from .semi_settings import (
    check_classes,
    check_keys,
    check_terms,
    check_weights,
)
from .taught_classes import silence, untaught_classes

SIZES = ('img_shape', 'pad_shape', 'batch_input_shape')


@MODELS.register_module()
class DSYMDetector(SemiBaseDetector):
    """Student and teacher of a one-stage detector (section 3.1 of the paper).

    ``L = L_sup + lambda_unsup(t) (L_pseudo + L_consistency)``. The teacher
    predicts on the weak view; its boxes are selected, filtered if a filter is
    attached, and projected to the strong view, on which the student learns
    them; and where both look at the same, student and teacher shall agree
    (eq 2). A batch without unlabelled branches has the first term alone.

    Most of what a class lacks in its pseudo-labels the teacher did see, with
    somewhat too low a score. Such doubtful boxes are neither objects nor
    background: heads of dsym ignore the places in them.

    Losses of YOLO heads are sums over the images of a batch. The unsupervised
    ones are scaled by labelled over unlabelled images: ``unsup_weight`` means
    the same for every ratio of them.

    Args:
        detector (dict): Any detector of mmdet or mmyolo with one dense
            ``bbox_head``.
        semi_train_cfg (dict, optional):

            - ``sup_weight`` (float): Defaults to 1.
            - ``unsup_weight`` (float): The final lambda. Defaults to 1.
            - ``ramp_steps`` (int): Unsupervised steps over which it rises,
              see :func:`gaussian_ramp`. Defaults to 0, at once.
            - ``pseudo_test_cfg`` (dict): Inference settings of the teacher
              over ``test_cfg``, which is made for mAP. Defaults to boxes of
              a score of 0.05, one class each, NMS at IoU 0.6.
            - ``selector`` (dict): ``ScoreThreshold``, ``TwoThresholds`` or
              ``MixtureThreshold``. Defaults to the first.
            - ``classes`` (list[int]): Those that pseudo-labels teach; of the
              others, which the teacher too often gets wrong, only
              consistency. Defaults to None, all; for YOLOv8 and v9 heads.
            - ``consistency`` (dict): ``ConsistencyLoss``, for YOLOv8 and v9
              heads. Defaults to None, without.
            - ``mix`` (dict): ``PseudoMixUp`` or ``PseudoMosaic`` of the
              student's images, without consistency. Defaults to None.
            - ``sums_images`` (bool): Whether the head's losses grow with the
              number of images. Defaults to what is known of its class.
            - ``doubtful`` (dict): ``share`` and ``max_iou`` of
              :func:`doubtful_boxes`. Defaults to its own.
            - ``box_weight`` (float): Factor on the box terms of
              pseudo-labels; 0 teaches their classes alone, as Unbiased
              Teacher (arXiv:2102.09480). Defaults to 1.
            - ``empty_images`` (bool): Whether the student learns from images
              without any pseudo-label that they are background. Defaults to
              False: it more often means that the teacher is unsure.

        semi_test_cfg (dict, optional): ``predict_on``, 'teacher' or
            'student'. Defaults to the teacher.
        data_preprocessor (dict, optional): Defaults to the detector's own,
            for each branch.
        init_cfg (dict, optional): Defaults to None.

    Attributes:
        pseudo_records (list[PseudoRecord]): Of the last step.
        disagreement (Tensor, optional): Of student and teacher, see
            :class:`ConsistencyLoss`.
        loaded_teacher (bool): Whether the checkpoint that was loaded last had
            a teacher of its own.

    Raises:
        InputError: If the detector has no dense head, a setting needs
            another one, or ``semi_train_cfg`` has another key.
    """

    def __init__(
        self,
        detector: ConfigType,
        semi_train_cfg: OptConfigType = None,
        semi_test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        check_type(detector)
        super().__init__(
            detector,
            semi_train_cfg=ConfigDict(semi_train_cfg or {}),
            semi_test_cfg=ConfigDict(
                {'predict_on': 'teacher', **(semi_test_cfg or {})}
            ),
            data_preprocessor=data_preprocessor
            or branch_preprocessor(detector),
            init_cfg=init_cfg,
        )
        check_head(self.student)
        cfg, head = self.semi_train_cfg, self.student.bbox_head
        check_keys(cfg, self.semi_test_cfg, head)
        self.sums_images = cfg.get('sums_images', sums_images(head))
        self.pseudo_cfg = ConfigDict(
            {
                **self.teacher.bbox_head.test_cfg,
                **PSEUDO_CFG,
                **cfg.get('pseudo_test_cfg', {}),
            }
        )
        self.selector = TASK_UTILS.build(
            cfg.get('selector', dict(type='ScoreThreshold'))
        )
        self.first_selector = deepcopy(self.selector.state_dict())
        check_classes(self.selector, head)
        self.untaught = untaught_classes(cfg.get('classes'), head)
        self.knows_weights = isinstance(head, YOLOv9Head)
        if getattr(self.selector, 'gives_weights', False):
            self.check_weights(True)
        check_terms(cfg, head)
        self.mix = self.consistency = None
        if cfg.get('mix'):
            self.mix = MODELS.build(cfg.mix)
        if cfg.get('consistency'):
            self.consistency = MODELS.build(cfg.consistency)
        self.register_buffer('unsup_steps', torch.zeros((), dtype=torch.long))
        # not a module: a filter's weights are no part of the detector's
        self.pseudo_labeler = PseudoLabeler(
            self.untaught,
            # other heads take doubtful boxes for background
            cfg.get('doubtful', {}) if self.knows_weights else None,
        )
        self.pseudo_records: List[PseudoRecord] = []
        self.disagreement: Optional[Tensor] = None
        self.loaded_teacher = False

    def attach_filter(
        self,
        pseudo_label_filter: Optional[Filter],
        before_selection: bool = False,
    ) -> None:
        """Let a component judge the selected boxes, or all of them before.

        Args:
            pseudo_label_filter (callable, optional): Takes the teacher's
                samples and, of each image, ``bboxes`` in pixels of the
                original, ``scores``, ``labels``, ``rows`` and perhaps
                ``weights``; gives the same with boxes dropped, relabelled or
                weighted. From an image with ``refused`` in its meta the
                student learns nothing. Its ``keep_images``, if it has one,
                is asked first, so that no selector counts such images.
            before_selection (bool): Judge all of the teacher's boxes; the
                selector then sees the scores that it gives. Defaults to
                False.

        Raises:
            InputError: If there is another one, which would judge no more.
        """
        if pseudo_label_filter is not None:
            self.check_no_filter()
        self.pseudo_labeler.judge = pseudo_label_filter
        self.pseudo_labeler.before_selection = before_selection

    def check_no_filter(self) -> None:
        """Raise :class:`InputError` if a filter is attached."""
        self.pseudo_labeler.check_no_judge()

    def attach_labeler(self, labeler: Optional[Labeler]) -> None:
        """Take the boxes of unlabelled images from elsewhere.

        Args:
            labeler (callable, optional): Takes the teacher's samples and
                gives of each image what the teacher's head would:
                ``bboxes`` in pixels of the original, ``scores``, ``labels``
                and ``rows``. Defaults to None, the teacher.
        """
        self.pseudo_labeler.predict = labeler

    def check_weights(self, given: bool) -> None:
        """Raise :class:`InputError` if weights of boxes would be lost."""
        if given:
            check_weights(self.student.bbox_head, self.knows_weights)

    def train(self, mode: bool = True) -> 'DSYMDetector':
        """Set the mode of the student; the teacher only ever predicts."""
        super().train(mode)
        self.teacher.eval()
        return self

    def loss(
        self,
        multi_batch_inputs: Dict[str, Tensor],
        multi_batch_data_samples: Dict[str, SampleList],
    ) -> Dict[str, Tensor]:
        """All terms of the loss.

        Args:
            multi_batch_inputs (dict[str, Tensor]): Images ``(B, 3, H, W)`` by
                branch: ``sup`` and, of the same images in the same order,
                ``unsup_teacher`` and ``unsup_student``.
            multi_batch_data_samples (dict[str, list]): Their samples.

        Returns:
            dict[str, Tensor]: The detector's losses, with ``sup_`` or
            ``unsup_`` before their names, and those of the consistency; for
            the log ``pseudo_boxes`` an image, ``lambda_unsup`` and, if there
            was a comparison, ``disagreement``.
        """
        inputs, samples = multi_batch_inputs, multi_batch_data_samples
        self.pseudo_records, self.disagreement = [], None
        losses = self.loss_by_gt_instances(inputs['sup'], samples['sup'])
        if 'unsup_student' not in inputs:
            return losses
        outs, labels, doubtful = self.pseudo_label(
            inputs['unsup_teacher'], samples['unsup_teacher']
        )
        student = samples['unsup_student']
        labels = self.project(labels, student)
        for sample, boxes in zip(student, self.project(doubtful, student)):
            sample.ignored_instances = boxes
        unsup = self.loss_of_student(
            inputs['unsup_student'], samples, labels, outs
        )
        weight = lambda_unsup = self.unsup_weight()
        self.unsup_steps += 1
        if self.sums_images:
            # the same scale as the supervised sum over images
            weight *= len(inputs['sup']) * get_world_size()
        unsup = rename_loss_dict('unsup_', reweight_loss_dict(unsup, weight))
        num_boxes = sum(map(len, labels)) / len(labels)
        told = dict(pseudo_boxes=num_boxes, lambda_unsup=lambda_unsup)
        told = {k: inputs['sup'].new_tensor(x) for k, x in told.items()}
        if self.disagreement is not None:
            told['disagreement'] = self.disagreement
        return {**losses, **unsup, **told}

    def begin_anew(self) -> None:
        """Forget how far a loaded checkpoint's run had come.

        That is the ramp of lambda and what the selector has seen.
        """
        self.unsup_steps.zero_()
        self.selector.load_state_dict(self.first_selector)

    def unsup_weight(self) -> float:
        """Lambda of this step."""
        cfg = self.semi_train_cfg
        share = gaussian_ramp(int(self.unsup_steps), cfg.get('ramp_steps', 0))
        return cfg.get('unsup_weight', 1.0) * share

    @torch.no_grad()
    def pseudo_label(
        self, inputs: Tensor, samples: SampleList
    ) -> Tuple[tuple, List[InstanceData], List[InstanceData]]:
        """Let the teacher label images.

        Args:
            inputs (Tensor): Weak views ``(B, 3, H, W)``.
            samples (list[DetDataSample]): Theirs.

        Returns:
            tuple[tuple, list[InstanceData], list[InstanceData]]: The outputs
            of its head, none if nothing needs them; of each image, in pixels
            of the original, the boxes that were selected and passed the
            filter; and the doubtful ones.
        """
        predict, outs = self.pseudo_labeler.predict, ()
        if predict is None or self.consistency is not None:
            head = self.teacher.bbox_head
            outs = head(self.teacher.extract_feat(inputs))
        if predict is None:
            boxes = predict_originals(head, outs, samples, self.pseudo_cfg)
        else:
            boxes = [x.to(inputs.device) for x in predict(samples)]
        labels, doubtful, self.pseudo_records = self.pseudo_labeler(
            samples, boxes, self.selector
        )
        self.check_weights(any('weights' in boxes for boxes in labels))
        return outs, labels, doubtful

    def project(
        self, labels: List[InstanceData], samples: SampleList
    ) -> List[InstanceData]:
        """Move pseudo-labels from the originals to the student's views."""
        matrices = homographies(samples, self.unsup_steps.device)
        return [
            move_boxes(boxes, matrix, sample.img_shape)
            for boxes, matrix, sample in zip(labels, matrices, samples)
        ]

    def loss_of_student(
        self,
        inputs: Tensor,
        samples: Dict[str, SampleList],
        labels: List[InstanceData],
        teacher_outs: tuple,
    ) -> Dict[str, Tensor]:
        """Losses on the strong views, as means over their images.

        Args:
            inputs (Tensor): Strong views ``(B, 3, H, W)``.
            samples (dict[str, list]): Samples of all branches, the student's
                with the doubtful boxes as ``ignored_instances``.
            labels (list[InstanceData]): Pseudo-labels in these views.
            teacher_outs (tuple): Of the teacher's head on the weak views.

        Returns:
            dict[str, Tensor]: The detector's losses and the consistency's.
        """
        chosen = choose_images(
            labels,
            self.semi_train_cfg.get('empty_images', False),
            compares=self.consistency is not None,
        )
        if chosen is None:
            return {}
        seen, learnt = chosen.seen, chosen.learnt
        student = [samples['unsup_student'][i] for i in seen]
        labels = [labels[i] for i in seen]
        ignored = [sample.ignored_instances for sample in student]
        if len(seen) < len(inputs):
            inputs, teacher_outs = inputs[seen], pick(teacher_outs, seen)
        if self.mix is not None:
            # seeded: a resumed run mixes the same
            generator = torch.Generator().manual_seed(int(self.unsup_steps))
            inputs, labels, ignored = self.mix(
                inputs, labels, ignored, generator
            )
            # of the view that was mixed: heads leave out what is beyond it
            size = tuple(inputs.shape[-2:])
            for sample in student:
                sample.set_metainfo(dict.fromkeys(SIZES, size))
        head = self.student.bbox_head
        outs = head(self.student.extract_feat(inputs))
        losses = {}
        if chosen.has_labels:
            losses = self.loss_of_boxes(
                outs if len(learnt) == len(seen) else pick(outs, learnt),
                [labels[i] for i in learnt],
                [ignored[i] for i in learnt],
                [student[i] for i in learnt],
            )
            losses = reweight_loss_dict(losses, chosen.learnt_share)
        if self.consistency is not None:
            teacher = [samples['unsup_teacher'][i] for i in seen]
            terms, self.disagreement = self.consistency(
                *level_outputs(head, outs, inputs),
                *teacher_outs[:2],
                between_views(teacher, student, inputs.device),
                [x.img_shape for x in teacher],
                [x.img_shape for x in student],
                head.featmap_strides,
            )
            losses.update(reweight_loss_dict(terms, chosen.seen_share))
        return losses

    def loss_of_boxes(
        self,
        outs: tuple,
        labels: List[InstanceData],
        ignored: List[InstanceData],
        samples: SampleList,
    ) -> Dict[str, Tensor]:
        """The detector's own losses with pseudo-labels as targets."""
        metas = [sample.metainfo for sample in samples]
        head = self.student.bbox_head
        if not self.knows_weights:
            ignored = None
        losses = weigh_box_terms(
            head.loss_by_feat(
                *silence(outs, self.untaught), labels, metas, ignored
            ),
            self.semi_train_cfg.get('box_weight', 1.0),
            head,
        )
        if self.sums_images:
            mean = 1 / (len(labels) * get_world_size())
            losses = reweight_loss_dict(losses, mean)
        return losses

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args
    ) -> None:
        """Accept a plain detector's checkpoint, for student and teacher."""
        self.loaded_teacher = has_part(state_dict, f'{prefix}teacher.')
        if not has_part(state_dict, f'{prefix}student.'):
            double_plain(state_dict, prefix)
        for key, value in self.state_dict(prefix=prefix).items():
            own = 'student.' not in key and 'teacher.' not in key
            # thresholds of another selector begin anew
            if own and getattr(state_dict.get(key), 'shape', None) != (
                value.shape
            ):
                state_dict[key] = value
        super()._load_from_state_dict(state_dict, prefix, *args)
