from pathlib import Path
from typing import Optional

from mmengine.hooks import Hook
from mmengine.runner import Runner


class ExportHook(Hook):
    """Base of hooks that write a model beside every checkpoint.

    The weights are those of the checkpoint: the average, with an
    ``EMAHook``. A subclass names its folder in the work_dir
    (:attr:`FOLDER`) and writes it in ``before_save_checkpoint``.

    Args:
        out_dir (str, optional): Another folder. Defaults to None.
        half (bool): Save float16, half the size. Defaults to True.
    """

    priority = 'LOW'  # after EMAHook has put the average in
    FOLDER = ''

    def __init__(
        self, out_dir: Optional[str] = None, half: bool = True
    ) -> None:
        self.out_dir = out_dir
        self.half = half

    def folder(self, runner: Runner) -> Path:
        """Where the model is written.

        Args:
            runner (Runner): The runner.

        Returns:
            Path: ``out_dir``, or :attr:`FOLDER` in the work_dir.
        """
        return Path(self.out_dir or Path(runner.work_dir) / self.FOLDER)
