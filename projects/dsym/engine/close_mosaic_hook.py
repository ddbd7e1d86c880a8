from typing import Any, Dict, Iterator, List, Union

from mmcv.transforms import Compose
from mmdet.datasets import MultiImageMixDataset
from mmengine.registry import HOOKS
from torch.utils.data import Dataset

from .last_epochs_hook import LastEpochsHook


def innermost(dataset: Dataset) -> Iterator[Dataset]:
    """The data sets that have pipelines: wrappers, or what is below them.

    Args:
        dataset (Dataset): A data set or a wrapper of one or several.

    Yields:
        Dataset: One that has a pipeline.
    """
    if hasattr(dataset, 'pipeline'):
        yield dataset
        return
    for part in getattr(dataset, 'datasets', None) or [dataset.dataset]:
        yield from innermost(part)


@HOOKS.register_module()
class CloseMosaicHook(LastEpochsHook):
    """Switch to a pipeline without mosaic for the last epochs.

    mmdet's ``PipelineSwitchHook`` sets the pipeline of a ``ConcatDataset``,
    which has none; this one those of the data sets inside.

    Args:
        num_last_epochs (int or float): Epochs with the other pipeline; a
            number below 1 is their share of all epochs.
        switch_pipeline (list[dict]): The other pipeline.
    """

    news = 'Mosaic is off from now on'

    def __init__(
        self,
        num_last_epochs: Union[int, float],
        switch_pipeline: List[Dict[str, Any]],
    ) -> None:
        super().__init__(num_last_epochs)
        self.switch_pipeline = switch_pipeline

    def change(self, dataset: Dataset) -> None:
        """Set the pipelines of the data sets inside."""
        for part in innermost(dataset):
            if isinstance(part, MultiImageMixDataset):
                # runs its steps itself, with their types beside them
                part.pipeline = Compose(self.switch_pipeline).transforms
                part.pipeline_types = [x['type'] for x in self.switch_pipeline]
            else:
                part.pipeline = Compose(self.switch_pipeline)
