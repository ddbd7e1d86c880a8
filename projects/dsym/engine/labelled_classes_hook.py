from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..errors import InputError


class LabelledClassesHook(Hook):
    """Keep checkpoints and labelled images to the same classes.

    MMEngine writes the classes of the loader that is walked: in phase 2 of
    :class:`MeanTeacherLoop` the unlabelled images, whose data set may name
    none. The loop registers it.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse a teacher of other classes, whose labels would be wrong.

        A phase 1 may begin from other classes, and so does a head of another
        number of them, of which ``PreflightHook`` warns: they learn anew.

        Args:
            runner (Runner): In a :class:`MeanTeacherLoop`.
            checkpoint (dict): Whose ``meta`` may tell the classes.

        Raises:
            InputError: If as many have another name or order.
        """
        loop = runner.train_loop
        meta = checkpoint.get('meta') or {}
        found = (meta.get('dataset_meta') or {}).get('classes')
        if found is None or (loop.burn_in_epochs and not runner._resume):
            return
        wanted = loop.labeled[0].dataset.metainfo['classes']
        if len(found) == len(wanted) and tuple(found) != tuple(wanted):
            raise InputError(
                f'{runner._load_from or runner.work_dir}: trained on the '
                f'classes {", ".join(found)}, train_dataloader has '
                f'{", ".join(wanted)}: give metainfo the same classes in the '
                'same order, or train a detector on these first'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take them from the first labelled loader.

        Args:
            runner (Runner): In a :class:`MeanTeacherLoop`.
            checkpoint (dict): Whose ``meta`` is changed.
        """
        dataset = runner.train_loop.labeled[0].dataset
        checkpoint['meta']['dataset_meta'] = dataset.metainfo
