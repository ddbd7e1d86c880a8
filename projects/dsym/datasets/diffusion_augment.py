from pathlib import Path
from typing import List, Optional, Union

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose, ConcatDataset
from mmengine.registry import DATASETS

from ..diffusion.synthetic_set import ensure_synthetic
from ..diffusion.synthetic_settings import labelled_set
from ..diffusion.workshop import Recipe
from ..errors import InputError
from .issues import DatasetError
from .untracked import with_inner_steps
from .verified_coco import VerifiedCocoDataset


@DATASETS.register_module()
class DiffusionAugment(ConcatDataset):
    """A labelled data set and synthetic images of its defects.

    The images are painted when the data set is first built, or before by
    ``tools/generate_defects.py``, and kept in ``cache_dir`` as an ordinary
    COCO data set; another setting makes another set. Real and synthetic
    images go through one pipeline and are mixed in its mosaics.

    Args:
        dataset (dict or BaseDataset): Labelled images, of any kind.
        painter (dict): ``DiffusionPainter``, ``PipelinePainter`` or
            ``CopyPastePainter``.
        ratio (float): Synthetic images for one real image. Defaults to 1.
        layout (dict): Of :class:`DefectLayout`. Defaults to its own settings.
        gate (dict, optional): Of :class:`QualityGate`. Defaults to None,
            which keeps every image.
        seed (int): Of the synthetic images. Defaults to 0.
        cache_dir (str): Where sets are kept. Defaults to
            ``data/dsym_synthetic``.
        max_tries (int): Images painted for one that the gate keeps, at most.
            Defaults to 10.
        num_workers (int, optional): Processes that paint; 0 for this one.
            Defaults to None, one a core.

    Raises:
        InputError: For settings that do not fit, or if the gate refuses too
            many images.
    """

    def __init__(
        self,
        dataset: Union[dict, BaseDataset],
        painter: dict,
        ratio: float = 1.0,
        layout: Optional[dict] = None,
        gate: Optional[dict] = None,
        seed: int = 0,
        cache_dir: str = 'data/dsym_synthetic',
        max_tries: int = 10,
        num_workers: Optional[int] = None,
    ) -> None:
        if ratio < 0:
            raise InputError(
                f'DiffusionAugment: ratio={ratio}: give 0 or more synthetic '
                'images for one real image'
            )
        for name, part in (
            ('painter', painter),
            ('layout', layout or {}),
            ('gate', gate or {}),
        ):
            if not isinstance(part, dict):
                raise InputError(
                    f'DiffusionAugment: {name}={part!r} is no dict: write '
                    f'{name}=dict(...)'
                )
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        if not isinstance(dataset, BaseDataset):
            raise InputError(
                f'DiffusionAugment: dataset={type(dataset).__name__}(...) is '
                'a wrapper: wrap each of its data sets, or give one of them'
            )
        if any(
            getattr(step, 'with_mask', False)
            for step in with_inner_steps(dataset.pipeline.transforms)
        ):
            raise InputError(
                'DiffusionAugment: painted defects have boxes and no masks: '
                'set with_mask=False in the pipeline'
            )
        dataset.full_init()
        self.ratio = ratio
        self.closed = False
        self.recipe = Recipe(painter, layout or {}, gate, seed)
        self.ann_file: Optional[Path] = None
        parts = [dataset]
        count = round(ratio * len(dataset))
        if count:
            self.ann_file = ensure_synthetic(
                self.recipe,
                labelled_set(dataset),
                count,
                Path(cache_dir),
                max_tries,
                num_workers,
            )
            parts.append(
                VerifiedCocoDataset(
                    ann_file=str(self.ann_file),
                    data_prefix=dict(img=str(self.ann_file.parent / 'images')),
                    metainfo=dict(dataset.metainfo),
                    pipeline=[],
                    serialize_data=dataset.serialize_data,
                    verify_images=False,
                )
            )
        # a data set's own name, palette, ... count, not that they differ
        super().__init__(parts, ignore_keys=[*dataset.metainfo])
        self.pipeline: Compose = dataset.pipeline

    @property
    def real_dataset(self) -> BaseDataset:
        """The labelled data set alone."""
        return self.datasets[0]

    def close_synthetic(self) -> None:
        """Give real images alone from now on, as many in all as before."""
        self.closed = True

    def get_data_info(self, idx: int) -> dict:
        """As of :class:`ConcatDataset`.

        Args:
            idx (int): Real images come first; after :meth:`close_synthetic`
                they come again in place of the others.

        Returns:
            dict: Of one image.
        """
        if self.closed:
            idx %= len(self.real_dataset)
        return super().get_data_info(idx)

    def get_cat_ids(self, idx: int) -> List[int]:
        """Classes in an image, for samplers that balance them.

        Args:
            idx (int): As of :meth:`get_data_info`.

        Returns:
            list[int]: Of each box.
        """
        if self.closed:
            idx %= len(self.real_dataset)
        part, inner = self._get_ori_dataset_idx(idx)
        return self.datasets[part].get_cat_ids(inner)

    def __getitem__(self, idx: int) -> dict:
        """Load an image and send it through the pipeline.

        Args:
            idx (int): Real images come first.

        Returns:
            dict: What the pipeline makes of it.
        """
        # as in BaseDataset, but of all images; mosaics draw from them
        tries = self.datasets[0].max_refetch + 1
        for _ in range(tries):
            info = self.get_data_info(idx)
            info['sample_idx'] = idx
            info['dataset'] = self
            data = self.pipeline(info)
            if data is not None:
                return data
            idx = np.random.randint(len(self))
        raise DatasetError(
            f'DiffusionAugment: the pipeline leaves nothing of {tries} '
            'images: correct it'
        )


def find_augment(config: Config) -> dict:
    """The settings of a config's first ``DiffusionAugment``.

    Args:
        config (Config): Its training loaders are searched.

    Returns:
        dict: They can be changed.

    Raises:
        InputError: If there is none.
    """
    nodes = [config.get('train_dataloader'), config.get('train_cfg')]
    while nodes:
        node = nodes.pop(0)
        if isinstance(node, dict):
            if node.get('type') == 'DiffusionAugment':
                return node
            node = list(node.values())
        nodes += node if isinstance(node, list) else []
    raise InputError(
        f'{config.filename} has no DiffusionAugment in train_dataloader or '
        'train_cfg: wrap its data set in one (docs/diffusion.md)'
    )
