from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DropDataset(BaseTransform):
    """Take the data set out of a sample, before ``mmdet.MultiBranch``.

    mmyolo's data sets put themselves there for mosaics, and MultiBranch
    makes a deep copy of all it gets for each branch: annotations of all
    images, copied for every single one.
    """

    def transform(self, results: dict) -> dict:
        """Remove ``dataset``.

        Args:
            results (dict): With or without ``dataset``.

        Returns:
            dict: The same without it.
        """
        results.pop('dataset', None)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
