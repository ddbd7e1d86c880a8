import hashlib
import json
import os
from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Sequence, Union

from mmengine.config import Config
from mmengine.dataset import BaseDataset

from ..errors import InputError
from ..weights import resolve_weights
from .windows import within_image

VERSION = 8  # of what is painted from the same settings
BLOCK = 2**20  # bytes of a file that are read at once
# keys of settings that may name a file or a folder
PATHS = ('model', 'checkpoint', 'config', 'clip', 'pretrained')


class LabelledSet(NamedTuple):
    """What painting needs of a data set; goes to other processes.

    Attributes:
        metainfo (dict): With ``classes``.
        infos (list[dict]): Data infos.
    """

    metainfo: dict
    infos: List[dict]

    def get_data_info(self, index: int) -> dict:
        """Data info of an image."""
        return self.infos[index]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.infos)


def labelled_set(dataset: BaseDataset) -> LabelledSet:
    """Take out of a data set what painting needs.

    Args:
        dataset (BaseDataset): Labelled images.

    Returns:
        LabelledSet: ``img_path``, ``height``, ``width`` and ``instances`` of
        each, within the image.

    Raises:
        InputError: If the data set does not say one of these.
    """
    keys = ('img_path', 'height', 'width', 'instances')
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    try:
        kept = [{key: info[key] for key in keys} for info in infos]
    except KeyError as error:
        raise InputError(
            f'{type(dataset).__name__}: its data infos have no {error}, which '
            'painting needs: take a labelled detection data set, such as '
            'VerifiedCocoDataset'
        ) from None
    return LabelledSet(
        dict(classes=list(dataset.metainfo['classes'])),
        [within_image(info) for info in kept],
    )


def labels_digest(labelled: LabelledSet) -> str:
    """Name images and labels: 16 hexadecimal digits."""
    content = [labelled.metainfo['classes']]
    for info in labelled.infos:
        boxes = [
            [*map(float, x['bbox']), x['bbox_label'], x.get('ignore_flag', 0)]
            for x in info['instances']
        ]
        path = info['img_path']
        content.append([os.path.basename(path), file_digest(path), boxes])
    return digest(content)


def with_digests(settings: Any) -> Any:
    """Settings in which files and folders are named by their content.

    Args:
        settings (Any): Of a config.

    Returns:
        Any: The same with a digest for each existing path under one of
        :data:`PATHS`.
    """
    if isinstance(settings, Mapping):
        return {
            key: path_digest(x) if key in PATHS else with_digests(x)
            for key, x in settings.items()
        }
    if isinstance(settings, (list, tuple)):
        return [with_digests(x) for x in settings]
    return settings


def path_digest(value: Any) -> Any:
    """Digest of an existing path; settings below it, or the value itself."""
    if not isinstance(value, (str, Path)):
        return with_digests(value)
    path = resolve_weights(value)
    if not os.path.exists(path):
        return value
    if os.path.isfile(path) and str(path).endswith('.py'):
        return config_digest(path)
    return file_digest(path)


def config_digest(path: Union[str, Path]) -> str:
    """Name what a detector's config says about detecting, of its bases too.

    Args:
        path (str or Path): The config.

    Returns:
        str: 16 hexadecimal digits of its model and the pipeline of its tests.
    """
    config = Config.fromfile(path).to_dict()
    tests = config.get('test_dataloader') or {}
    pipeline = tests.get('dataset', {}).get('pipeline')
    return digest([config.get('model'), pipeline])


def file_digest(path: Union[str, Path]) -> str:
    """Name the content of a file, or of all files of a folder.

    Args:
        path (str or Path): The file or folder.

    Returns:
        str: 16 hexadecimal digits.
    """
    path = Path(path)
    found = hashlib.blake2b(digest_size=8)
    files = [path] if path.is_file() else sorted(path.rglob('*'))
    for file in files:
        if file.is_file():
            found.update(file.relative_to(path).as_posix().encode())
            with file.open('rb') as stream:  # may be larger than the memory
                while block := stream.read(BLOCK):
                    found.update(block)
    return found.hexdigest()


def digest(content: Sequence) -> str:
    """Name what JSON can hold: 16 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
