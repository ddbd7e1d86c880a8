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
    ``EMAHook``.

    Args:
        out_dir (str, optional): Another folder. Defaults to None.
        half (bool): Save float16, half the size. Defaults to True.
    """

    FOLDER = 'diffusion'

    @master_only
    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write the folder."""
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
        save_diffusion(
            model,
            self.folder(runner),
            dataset.metainfo['classes'],
            dataset.context,
            dataset.min_side,
            self.half,
            checkpoint['state_dict'],
        )
