from typing import Tuple

from mmengine.dist import master_only
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..datasets import DefectWindowDataset
from ..diffusion import ConditionalDiffusion, save_diffusion
from ..errors import InputError
from .export_hook import ExportHook
from .unwrapped import unwrapped_model


@HOOKS.register_module()
class ExportDiffusionHook(ExportHook):
    """Write a ``ConditionalDiffusion`` beside every checkpoint of it.

    ``WORK_DIR/diffusion/`` is a folder whose ``unet`` and ``scheduler``
    diffusers loads, and that :class:`DiffusionPainter` takes as ``model``.
    It has the weights that the checkpoint has: the average, with an
    ``EMAHook``. Before training it compares the model with the data set: a
    model for other classes or windows trains without an error and paints
    what it never saw.

    Args:
        out_dir (str, optional): Another folder. Defaults to None.
        half (bool): Save float16, half the size. Defaults to True.
    """

    FOLDER = 'diffusion'

    def before_train(self, runner: Runner) -> None:
        """Compare the model with the data set.

        Raises:
            InputError: If one is of another kind, or they do not fit.
        """
        model, dataset = trained_parts(runner)
        check_fit(model, dataset)

    @master_only
    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write the folder."""
        model, dataset = trained_parts(runner)
        save_diffusion(
            model,
            self.folder(runner),
            dataset.metainfo['classes'],
            dataset.context,
            dataset.min_side,
            self.half,
            checkpoint['state_dict'],
            dataset.clean,
        )


def trained_parts(
    runner: Runner,
) -> Tuple[ConditionalDiffusion, DefectWindowDataset]:
    """Model and data set of a training.

    Raises:
        InputError: If one is of another kind.
    """
    model = unwrapped_model(runner)
    if not isinstance(model, ConditionalDiffusion):
        raise InputError(
            f'ExportDiffusionHook: {type(model).__name__} is no '
            'ConditionalDiffusion: take the hook out of custom_hooks'
        )
    dataset = runner.train_dataloader.dataset
    while not isinstance(dataset, DefectWindowDataset):
        if not hasattr(dataset, 'dataset'):
            raise InputError(
                'ExportDiffusionHook: train_dataloader has no '
                'DefectWindowDataset, whose windows the painter has to '
                'know: use one, or take the hook out of custom_hooks'
            )
        dataset = dataset.dataset
    return model, dataset


def check_fit(
    model: ConditionalDiffusion, dataset: DefectWindowDataset
) -> None:
    """Compare what the model is for with what the data set gives.

    Args:
        model (ConditionalDiffusion): To be trained.
        dataset (DefectWindowDataset): Its windows.

    Raises:
        InputError: If classes, channels or the side of windows differ.
    """
    classes = dataset.metainfo['classes']
    for key, mine, given, what in (
        (
            'condition_encoder.num_classes',
            model.condition_encoder.num_classes,
            len(classes),
            f'classes ({", ".join(classes)})',
        ),
        (
            'image_channels',
            model.image_channels,
            dataset.image_channels,
            'image_channels',
        ),
        (
            'unet.sample_size * model.patch',
            model.size,
            dataset.size,
            'px (size)',
        ),
    ):
        if mine != given:
            raise InputError(
                f'model.{key} is {mine}, but the windows of train_dataloader '
                f'have {given} {what}: set both alike'
            )
