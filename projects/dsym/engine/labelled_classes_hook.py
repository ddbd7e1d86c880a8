from mmengine.hooks import Hook
from mmengine.runner import Runner


class LabelledClassesHook(Hook):
    """Write the labelled images' classes into checkpoints.

    MMEngine writes those of the loader that is walked: in phase 2 of
    :class:`MeanTeacherLoop` the unlabelled images, whose data set may name
    none. The loop registers it.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take them from the first labelled loader.

        Args:
            runner (Runner): In a :class:`MeanTeacherLoop`.
            checkpoint (dict): Whose ``meta`` is changed.
        """
        dataset = runner.train_loop.labeled[0].dataset
        checkpoint['meta']['dataset_meta'] = dataset.metainfo
