"""Steps of pipelines that move boxes without recording where to."""

from typing import Iterable, Iterator, Optional

UNTRACKED = {
    'LetterResize': 'take TrackedLetterResize',
    'YOLOv5RandomAffine': 'take TrackedRandomAffine',
    'RandomAffine': 'take TrackedRandomAffine',
    'Mosaic': 'a mosaic has no single homography, leave it out',
    'Mosaic9': 'a mosaic has no single homography, leave it out',
    'CachedMosaic': 'a mosaic has no single homography, leave it out',
    'MixUp': 'it shows two images, leave it out',
    'CachedMixUp': 'it shows two images, leave it out',
    'YOLOXMixUp': 'it shows two images, leave it out',
    'YOLOv5MixUp': 'it shows two images, leave it out',
    'Expand': 'leave it out',
    'MinIoURandomCrop': 'leave it out',
    'RandomCenterCropPad': 'leave it out',
    'RandomShift': 'leave it out',
    'CenterCrop': 'leave it out',
}


def with_inner_steps(steps: Iterable) -> Iterator:
    """Steps, and those of wrappers such as ``RandomOrder``.

    Args:
        steps (Iterable): Transforms, or lists of them.

    Yields:
        Callable: One of them, or one inside; also those of each branch of
        mmdet's ``MultiBranch``.
    """
    for step in steps:
        yield step
        inner = getattr(step, 'transforms', step)
        inner = getattr(inner, 'transforms', inner)  # as of RandomApply
        if isinstance(inner, (list, tuple)):
            yield from with_inner_steps(inner)
        branches = getattr(step, 'branch_pipelines', None)
        if isinstance(branches, dict):
            yield from with_inner_steps(branches.values())


def untracked_step(steps: Iterable) -> Optional[str]:
    """Name the first step after which nobody knows where boxes are.

    Args:
        steps (Iterable): Transforms.

    Returns:
        str, optional: What it does and the remedy; None if there is none.
    """
    for step in with_inner_steps(steps):
        name = type(step).__name__
        if name in UNTRACKED:
            return (
                f'{name} in the pipeline does not record where it moves '
                f'boxes: {UNTRACKED[name]}'
            )
    return None
