"""A detector in onnxruntime."""

import hashlib
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ..errors import InputError, MissingFileError
from .postprocess import select_boxes


def need(package: str) -> ModuleType:
    """Import a package that dsym does not ask for.

    Args:
        package (str): ``'onnx'`` or ``'onnxruntime'``.

    Returns:
        ModuleType: The package.

    Raises:
        InputError: If it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise InputError(
            f'{package} is not installed: pip install onnx onnxruntime'
        ) from None


def file_hash(path: Path) -> str:
    """SHA-256 of a file, by which an export knows its checkpoint."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class OnnxBackend:
    """What :func:`export_onnx` wrote, run by onnxruntime.

    Batches have the size of the file; shorter ones are filled up.

    Args:
        file (str): The model.
        test_cfg (dict): How boxes are chosen, see :func:`select_boxes`.
        checkpoint (Path, optional): The file must have been made of it.
            Defaults to None, not asked.

    Attributes:
        classes (tuple[str]): Names in label order.

    Raises:
        InputError: If onnxruntime is missing, or the file is another's.
    """

    def __init__(
        self,
        file: str,
        test_cfg: Dict[str, Any],
        checkpoint: Optional[Path] = None,
    ) -> None:
        runtime = need('onnxruntime')
        if not Path(file).is_file():
            raise MissingFileError(
                f'{file}: no such file; write it by tools/export_onnx.py'
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = runtime.InferenceSession(
                str(file), options, providers=runtime.get_available_providers()
            )
            meta = self.session.get_modelmeta().custom_metadata_map
            known = json.loads(meta['dsym'])
        # onnxruntime's own exceptions have no common class
        except Exception as error:
            reason = ' '.join(str(error).split())
            raise InputError(
                f'{file}: not a model of tools/export_onnx.py ({reason}); '
                'write it again'
            ) from None
        if checkpoint and known['checkpoint'] != file_hash(checkpoint):
            raise InputError(
                f'{file} was made of another checkpoint than {checkpoint}: '
                'write it again by tools/export_onnx.py'
            )
        self.file = file
        self.classes = tuple(known['classes'])
        self.test_cfg = test_cfg
        (entry,) = self.session.get_inputs()
        self.name, self.shape = entry.name, tuple(entry.shape)

    def __call__(
        self, inputs: Sequence[Tensor], samples: Sequence[DetDataSample]
    ) -> List[InstanceData]:
        """Detect in images of one shape; as :class:`TorchBackend`.

        Raises:
            InputError: If the file was made for another size.
        """
        batch, *size = self.shape
        given = list(inputs[0].shape)
        if given != size:
            raise InputError(
                f'{self.file} takes images of {size[1:]}, but the pipeline '
                f'gives {given[1:]} (height, width): export it again with '
                f'--size {given[1]} {given[2]}'
            )
        found = []
        for start in range(0, len(inputs), batch):
            part = torch.stack(list(inputs[start : start + batch])).float()
            images = np.zeros(self.shape, np.float32)
            images[: len(part)] = part.numpy()
            boxes, scores = self.session.run(None, {self.name: images})
            for i, sample in enumerate(samples[start : start + batch]):
                found.append(
                    select_boxes(
                        torch.from_numpy(boxes[i]),
                        torch.from_numpy(scores[i]),
                        self.test_cfg,
                        sample.metainfo,
                    )
                )
        return found
