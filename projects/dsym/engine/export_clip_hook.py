from pathlib import Path
from typing import Optional

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..clip import save_clip
from ..errors import InputError
from .unwrapped import unwrapped_model


@HOOKS.register_module()
class ExportCLIPHook(Hook):
    """Write the adapted CLIP beside every checkpoint of a ``CLIPGrader``.

    ``WORK_DIR/clip/`` is a folder that open_clip loads (``local-dir:``) and
    that :class:`CLIPFilterHook` takes as ``clip``. It has the weights that
    the checkpoint has: the average, with an ``EMAHook``.

    Args:
        out_dir (str, optional): Another folder. Defaults to None.
        half (bool): Save float16, half the size. Defaults to True.
    """

    priority = 'LOW'  # after EMAHook has put the average in

    def __init__(
        self, out_dir: Optional[str] = None, half: bool = True
    ) -> None:
        self.out_dir = out_dir
        self.half = half

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
        folder = Path(self.out_dir or Path(runner.work_dir) / 'clip')
        save_clip(model.clip, folder, self.half, weights)
