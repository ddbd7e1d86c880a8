from typing import Callable, List, NamedTuple, Optional, Sequence

import torch
from mmdet.structures import DetDataSample
from mmengine.dist import all_reduce
from mmengine.structures import InstanceData


class ChosenImages(NamedTuple):
    """The unlabelled images of a step that teach the student.

    Attributes:
        seen (list[int]): Images that go through the student.
        learnt (list[int]): Those of ``seen``, by their places in it, whose
            pseudo-labels it learns.
        seen_share (float): Share of all images that ``seen`` is; 0 on a rank
            that has none and only goes along.
        learnt_share (float): The same of ``learnt``.
        has_labels (bool): Whether any rank has pseudo-labels to learn.
    """

    seen: List[int]
    learnt: List[int]
    seen_share: float
    learnt_share: float
    has_labels: bool


def choose_images(
    labels: Sequence[InstanceData], empty_images: bool, compares: bool
) -> Optional[ChosenImages]:
    """Leave out images that teach nothing.

    These are refused ones, and those without any pseudo-label, which more
    often means that the teacher is unsure than that there is nothing.

    Args:
        labels (Sequence[InstanceData]): Pseudo-labels of each image, with
            ``refused`` in the meta of those that a filter refused.
        empty_images (bool): Whether images without any are background.
        compares (bool): Whether the student is also compared with the
            teacher, for which an image needs no pseudo-labels.

    Returns:
        ChosenImages, optional: None if no rank has an image to see.
    """
    kept = [i for i, x in enumerate(labels) if not x.get('refused')]
    learnt = kept
    if not empty_images:
        learnt = [i for i in kept if len(labels[i])]
    seen = kept if compares else learnt
    # heads and SyncBN wait for all ranks: one without images goes along
    device = labels[0].bboxes.device
    anywhere = torch.tensor([len(seen), len(learnt)], device=device)
    all_reduce(anywhere, 'max')
    if not anywhere[0]:
        return None
    # every image weighs the same, however many are left
    shares = len(seen) / len(labels), len(learnt) / len(labels)
    seen = seen or [*range(len(labels))]
    learnt = [seen.index(i) for i in learnt] or [*range(len(seen))]
    return ChosenImages(seen, learnt, *shares, bool(anywhere[1]))


def refuse_images(
    pseudo_label_filter: Optional[Callable],
    samples: Sequence[DetDataSample],
    boxes: Sequence[InstanceData],
) -> Sequence[InstanceData]:
    """Let a filter refuse whole images before boxes are selected.

    Line 14 of the paper's Table 1 comes before line 16: a selector that counts
    images would expect boxes of those that are refused after it.

    Args:
        pseudo_label_filter (callable, optional): It may have
            ``keep_images(samples)``, which gives one bool an image.
        samples (Sequence[DetDataSample]): The teacher's.
        boxes (Sequence[InstanceData]): All of its boxes, by image.

    Returns:
        Sequence[InstanceData]: The same, but none of refused images, which
        have ``refused`` in their meta.
    """
    keep_images = getattr(pseudo_label_filter, 'keep_images', None)
    if keep_images is None:
        return boxes
    left = []
    for found, kept in zip(boxes, keep_images(samples)):
        # all of its boxes say so too: those that are doubtful may be mixed
        found.set_metainfo(dict(refused=not kept))
        left.append(found if kept else found[:0])
    return left
