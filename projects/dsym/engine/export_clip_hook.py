from mmengine.dist import master_only
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..clip import save_clip
from ..errors import InputError
from .export_hook import ExportHook
from .unwrapped import unwrapped_model


@HOOKS.register_module()
class ExportCLIPHook(ExportHook):
    """Write the adapted CLIP beside every checkpoint of a ``CLIPGrader``.

    ``WORK_DIR/clip/`` is a folder that open_clip loads (``local-dir:``) and
    that :class:`CLIPFilterHook` takes as ``clip``. It has the weights that
    the checkpoint has: the average, with an ``EMAHook``.

    Args:
        out_dir (str, optional): Another folder. Defaults to None.
        half (bool): Save float16, half the size. Defaults to True.
    """

    FOLDER = 'clip'

    @master_only
    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write the folder."""
        model = unwrapped_model(runner)
        if not hasattr(model, 'clip'):
            raise InputError(
                f'ExportCLIPHook: {type(model).__name__} is no CLIPGrader: '
                'take the hook out of custom_hooks'
            )
        prefix = 'clip.model.'
        weights = {
            key.removeprefix(prefix): value
            for key, value in checkpoint['state_dict'].items()
            if key.startswith(prefix)
        }
        folder = self.folder(runner)
        save_clip(model.clip, folder, self.half, weights)
