from typing import List, Sequence

import torch
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from ..errors import InputError
from ..evaluation.pseudo_label_audit import normalize_path
from .pseudo_label_audit_hook import read_truth
from .same_classes import check_same_classes, labelled_of
from .unwrapped import unwrapped_model


@HOOKS.register_module()
class TrueLabelsHook(Hook):
    """Give the student the hidden truth in place of pseudo-labels.

    For the limit of a semi-supervised recipe, not for a result: what it would
    reach if its teacher made no mistake. Views, loop, weights and teacher stay
    as they are; the selector sees true boxes with a score of 1.

    Args:
        dataset (dict): Config of a data set with the annotations of the
            unlabelled images, as of ``PseudoLabelAuditHook``. Ignored boxes
            are no labels.
    """

    # what is to audit them must see them
    priority = 'ABOVE_NORMAL'

    def __init__(self, dataset: dict) -> None:
        self.dataset = dataset

    def before_train(self, runner: Runner) -> None:
        """Read the truth and attach it.

        Args:
            runner (Runner): The runner.

        Raises:
            InputError: If the model makes no pseudo-labels, or the classes
                are not those of the labelled images.
        """
        model = unwrapped_model(runner)
        if not hasattr(model, 'attach_filter'):
            raise InputError(
                f'{type(model).__name__} makes no pseudo-labels: remove '
                'TrueLabelsHook from custom_hooks'
            )
        dataset = DATASETS.build(
            dict(self.dataset, test_mode=True, pipeline=[])
        )
        name = f'{type(self).__name__}.dataset'
        check_same_classes(name, dataset, labelled_of(runner))
        self._truth = {
            normalize_path(path): boxes
            for path, boxes in read_truth(dataset).items()
        }
        model.attach_filter(self.true_labels, before_selection=True)
        runner.logger.warning(
            'TrueLabelsHook: unlabelled images are trained with their true '
            'labels, so this run is a limit and no result'
        )

    def true_labels(
        self, samples: Sequence[DetDataSample], predicted: List[InstanceData]
    ) -> List[InstanceData]:
        """Replace a batch's boxes.

        Args:
            samples (Sequence[DetDataSample]): Of the images.
            predicted (list[InstanceData]): The teacher's boxes.

        Returns:
            list[InstanceData]: ``bboxes`` in pixels of the original,
            ``labels``, ``scores`` of 1 and ``rows``, on the same device.

        Raises:
            InputError: If an image has no annotations in the data set.
        """
        labels = []
        for sample, boxes in zip(samples, predicted):
            path = normalize_path(sample.img_path)
            if path not in self._truth:
                raise InputError(
                    f'{sample.img_path}: TrueLabelsHook.dataset does not have '
                    'this image: name the data set of the unlabelled images'
                )
            device = boxes.bboxes.device
            true = self._truth[path].to(device)
            labels.append(
                InstanceData(
                    bboxes=true.bboxes,
                    labels=true.labels,
                    scores=true.bboxes.new_ones(len(true)),
                    rows=torch.arange(len(true), device=device),
                )
            )
        return labels
