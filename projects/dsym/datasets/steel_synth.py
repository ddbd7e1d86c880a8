"""SteelSynth, the procedural data set that stands in for NEU-DET."""

from typing import List, Optional

from mmengine.dist import barrier, is_main_process
from mmengine.registry import DATASETS
from mmyolo.datasets import YOLOv5CocoDataset

from .neu_det_meta import CLASSES, PALETTE
from .steel_cache import ensure_steel_synth, steel_synth_folder


@DATASETS.register_module()
class SteelSynthDataset(YOLOv5CocoDataset):
    """Procedural steel images with NEU-DET's six classes and exact boxes.

    The images, 200x200 px and grey in three equal channels, are drawn when
    the data set is first loaded and kept as an ordinary COCO data set, from
    which it is a :class:`YOLOv5CocoDataset`. The same ``seed`` gives the same
    image i whatever the number of images or workers; another seed gives other
    images, so a training and a test set differ in it. Image i has class
    ``i % 6`` for its main defects. In a distributed run rank 0 generates and
    the others wait.

    Args:
        data_root (str): Cache folder; each set has a folder of its own in it.
            Defaults to ``'data/steel_synth'``.
        num_images (int): Number of images. Defaults to 240.
        seed (int): Seed of the set. Defaults to 0.
        num_workers (int, optional): Number of processes that generate. None
            means one a CPU core. Defaults to None.
        **kwargs: As in :class:`YOLOv5CocoDataset`.

    Raises:
        DatasetError: If an argument is out of its range or the cache folder
            cannot be written.
    """

    METAINFO = {'classes': CLASSES, 'palette': PALETTE}

    def __init__(
        self,
        *,
        data_root: str = 'data/steel_synth',
        num_images: int = 240,
        seed: int = 0,
        num_workers: Optional[int] = None,
        **kwargs,
    ) -> None:
        self.cache_args = (data_root, num_images, seed, num_workers)
        kwargs.setdefault('ann_file', 'annotations.json')
        kwargs.setdefault('data_prefix', {'img': 'images/'})
        folder = steel_synth_folder(data_root, num_images, seed)
        super().__init__(data_root=str(folder), **kwargs)

    def load_data_list(self) -> List[dict]:
        """Generate the images if need be and load their annotations.

        Returns:
            list[dict]: As :class:`CocoDataset` returns.
        """
        if is_main_process():
            ensure_steel_synth(*self.cache_args)
        barrier()
        # A node that does not see rank 0's disk makes a copy of its own.
        ensure_steel_synth(*self.cache_args)
        return super().load_data_list()
