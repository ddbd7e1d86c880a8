from itertools import islice
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_dist_info, is_main_process
from torch import Tensor
from tqdm import tqdm

from ..cache_folder import cache_folder
from ..errors import InputError
from .feature_store import FeatureStore, warn
from .unreadable_image import UnreadableImageError

PART = 16  # shards whose images are looked up together
NAMED = 3  # unreadable images that a warning names


class FeatureCache:
    """Features of image files, made once and kept in a :class:`FeatureStore`.

    A renamed image is found, a changed one made anew, and so are those of a
    damaged shard, with a warning.

    Args:
        encode (callable): From paths to features ``(N, ...)``, all of one
            shape; raises :class:`UnreadableImageError`.
        key (str): Names model and settings; another key is another folder.
        folder (str or Path, optional): Defaults to
            :func:`cache_folder`.
        batch_size (int): Images encoded at once. Defaults to 32.
        shard_size (int): Images of a shard. Defaults to 256.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Tensor],
        key: str,
        folder: Optional[Union[str, Path]] = None,
        batch_size: int = 32,
        shard_size: int = 256,
    ) -> None:
        self.encode = encode
        root = Path(folder or cache_folder('clip')).expanduser()
        self.store = FeatureStore(root / key)
        self.batch_size = batch_size
        self.shard_size = shard_size

    def warm(
        self,
        paths: Iterable[str],
        skip: bool = False,
        share: bool = False,
    ) -> int:
        """Make what is missing, in batches, with a progress bar.

        Args:
            paths (Iterable[str]): Image files; of a generator only so many
                as :data:`PART` shards hold are in memory.
            skip (bool): Leave out images that cannot be read, with one
                warning that counts them. Defaults to False.
            share (bool): Leave to each of n ranks every n-th image, and wait
                for the others. Defaults to False.

        Returns:
            int: How many features this process made.

        Raises:
            UnreadableImageError: Unless such images are to be left out.
        """
        rank, world_size = get_dist_info() if share else (0, 1)
        made, paths = 0, islice(paths, rank, None, world_size)
        skipped: Optional[List[str]] = [] if skip else None
        with tqdm(
            desc='CLIP features',
            unit='img',
            delay=2,
            disable=not is_main_process(),
        ) as bar:
            while part := [*islice(paths, PART * self.shard_size)]:
                made += self._warm_part(part, bar, skipped)
        if share:
            # one warning, whichever rank met them
            of_all = all_gather_object(skipped or [])
            skipped = []
            if is_main_process():
                skipped = [path for part in of_all for path in part]
        if skipped:
            more = ', ...' if len(skipped) > NAMED else ''
            warn(
                f'{len(skipped)} images cannot be read and are left out: '
                f'{", ".join(map(repr, skipped[:NAMED]))}{more}'
            )
        return made

    def _warm_part(
        self, paths: List[str], bar: tqdm, skipped: Optional[List[str]]
    ) -> int:
        """Make what is missing of some images."""
        missing: Dict[str, str] = {}
        for path, digest in self.store.digests(paths, skipped).items():
            if digest not in self.store:
                missing.setdefault(digest, path)
        bar.update(len(paths) - len(missing))
        digests, made = [*missing], 0
        for start in range(0, len(digests), self.shard_size):
            part = digests[start : start + self.shard_size]
            features: Dict[str, np.ndarray] = {}
            for i in range(0, len(part), self.batch_size):
                batch = {x: missing[x] for x in part[i : i + self.batch_size]}
                features.update(self._encode_readable(batch, skipped))
                bar.update(len(batch))
            if features:
                self.store.add([*features], np.stack([*features.values()]))
            made += len(features)
        return made

    def _encode_readable(
        self, batch: Dict[str, str], skipped: Optional[List[str]]
    ) -> Dict[str, np.ndarray]:
        """Features by hash, of paths by hash."""
        while batch:
            try:
                return dict(zip(batch, self._encode([*batch.values()])))
            except UnreadableImageError as error:
                if skipped is None:
                    raise
                bad = error.path
            skipped.append(bad)
            batch = {key: path for key, path in batch.items() if path != bad}
        return {}

    def __call__(self, paths: Sequence[str]) -> Tensor:
        """Read features; those that are missing are made.

        Args:
            paths (Sequence[str]): Image files.

        Returns:
            Tensor: ``(N, ...)``, float32.
        """
        self.warm(paths)
        features = np.stack([self._row(path) for path in paths])
        return torch.from_numpy(features.astype(np.float32))

    def _row(self, path: str) -> np.ndarray:
        while True:
            # anew: the file may have changed meanwhile
            digest = self.store.digests([path])[path]
            row = self.store.get(digest)
            if row is not None:
                return row
            self.warm([path])  # lost with the shard of an image before

    def _encode(self, paths: List[str]) -> np.ndarray:
        features = self.encode(paths).half()
        finite = features.flatten(1).isfinite().all(1)
        if not finite.all():
            raise InputError(
                f'clip: features of {paths[int(finite.int().argmin())]} are '
                'not finite in float16: check the model'
            )
        return features.cpu().numpy()
