"""Find, load and prepare a detector for use outside of training."""

from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import CheckpointLoader
from mmyolo.models.layers import RepVGGBlock
from torch import nn

from ..checkpoint_loading import load_and_compare
from ..errors import InputError, MissingFileError
from ..memory_order import channels_last
from ..weights import DEFAULT_DETECTOR, PREFIX, resolve_weights
from .fuse_batch_norms import fuse_batch_norms

OPTIONAL = 'aux'  # in the names of entries that only training needs


class ModelFiles(NamedTuple):
    """The files of a model.

    Attributes:
        config (Path): MMEngine config.
        checkpoint (Path): Weights.
    """

    config: Path
    checkpoint: Path


def resolve_model(
    config: str = DEFAULT_DETECTOR, checkpoint: Optional[str] = None
) -> ModelFiles:
    """Find the files that a command line means.

    Args:
        config (str): A config file, or ``dsym://NAME`` alone for a detector
            of the package. Defaults to the one for steel.
        checkpoint (str, optional): A checkpoint of it. Defaults to None, the
            package's.

    Returns:
        ModelFiles: Existing files.

    Raises:
        MissingFileError: If one does not exist.
    """
    if checkpoint is None:
        if not config.startswith(PREFIX):
            raise InputError(
                f'{config}: without a checkpoint; give CONFIG CHECKPOINT, or '
                f'{PREFIX}NAME for a detector of the package'
            )
        checkpoint = resolve_weights(config)
        config = str(Path(checkpoint).with_suffix('.py'))
    files = ModelFiles(Path(config), Path(resolve_weights(checkpoint)))
    for name, path in files._asdict().items():
        if not path.is_file():
            raise MissingFileError(
                f'{path}: no such {name}; give the path of an existing file '
                f'(looked from {Path.cwd()})'
            )
    return files


def read_config(files: ModelFiles) -> Config:
    """Read a detector's config and make its classes known.

    Args:
        files (ModelFiles): Of :func:`resolve_model`.

    Returns:
        Config: With a plain detector as ``model`` and a test pipeline.

    Raises:
        InputError: If it describes something else.
    """
    config = Config.fromfile(files.config)
    if 'model' not in config or 'test_dataloader' not in config:
        raise InputError(
            f'{files.config}: it has no model and test_dataloader, whose '
            'pipeline a detector needs; give the config of a training run'
        )
    if 'detector' in config.model:
        raise InputError(
            f'{files.config}: it holds a teacher and a student; write the '
            f"teacher's config and weights by tools/export_detector.py "
            f'{files.checkpoint} OUT_DIR, and give these'
        )
    init_default_scope(config.get('default_scope', 'mmdet'))
    return config


def set_test_cfg(config: Config, changes: dict) -> None:
    """Change how boxes are chosen, where the model's config says it.

    Args:
        config (Config): Changed in place.
        changes (dict): Of ``test_cfg``, or ``test_cfg.rcnn`` of detectors
            with two stages; others have nothing to change.
    """
    test_cfg = config.model.get('test_cfg') or {}
    test_cfg = test_cfg.get('rcnn', test_cfg)
    if 'score_thr' in test_cfg:
        test_cfg.update(changes)


def read_classes(config: Config, checkpoint: dict) -> Tuple[str, ...]:
    """Class names in label order.

    Args:
        config (Config): Its test set tells them if the checkpoint does not.
        checkpoint (dict): As MMEngine saved it.

    Returns:
        tuple[str]: The names.

    Raises:
        InputError: If nothing tells them.
    """
    meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
    classes = meta.get('classes')
    if not classes:
        dataset = dict(config.test_dataloader.dataset, lazy_init=True)
        classes = DATASETS.build(dataset).metainfo.get('classes')
    if not classes:
        raise InputError(
            'neither the checkpoint nor test_dataloader.dataset names the '
            'classes: set test_dataloader.dataset.metainfo=dict(classes=...)'
        )
    return tuple(classes)


def merge_branches(model: nn.Module) -> nn.Module:
    """Re-parameterise RepConv blocks, fuse norms, order channels last.

    The order stays where a part of the model does not know it
    (:func:`channels_last`).

    Args:
        model (nn.Module): In eval mode; changed in place.

    Returns:
        nn.Module: The same model; equal but for rounding.
    """
    for module in model.modules():
        if isinstance(module, RepVGGBlock):
            module.switch_to_deploy()
    channels_last(fuse_batch_norms(model))
    return model


def load_detector(
    files: ModelFiles,
    config: Config,
    deploy: bool = True,
    device: Optional[str] = None,
) -> Tuple[nn.Module, Tuple[str, ...]]:
    """Build a detector with its weights.

    Args:
        files (ModelFiles): Of :func:`resolve_model`.
        config (Config): Of :func:`read_config`.
        deploy (bool): As :func:`merge_branches`. Defaults to True.
        device (str, optional): Defaults to the fastest there is.

    Returns:
        tuple[nn.Module, tuple[str]]: The model in eval mode and its classes.

    Raises:
        InputError: If the weights do not fit the config.
    """
    checkpoint = CheckpointLoader.load_checkpoint(
        str(files.checkpoint), map_location='cpu'
    )
    model = revert_sync_batchnorm(MODELS.build(config.model))
    total, missing, mismatched = load_and_compare(model, checkpoint)
    wrong: List[str] = [
        key for key in [*missing, *mismatched] if OPTIONAL not in key
    ]
    if wrong:
        raise InputError(
            f'{files.checkpoint}: {len(wrong)} of {total} entries of '
            f'{files.config} are missing or of another shape, as {wrong[0]}; '
            'give the config it was trained with'
        )
    classes = read_classes(config, checkpoint)
    known = getattr(getattr(model, 'bbox_head', None), 'num_classes', None)
    if known not in (None, len(classes)):
        raise InputError(
            f'{files.checkpoint}: it names {len(classes)} classes but its '
            f'head has {known}: correct the metainfo of {files.config}'
        )
    model.eval().requires_grad_(False)
    if deploy:
        model = merge_branches(model)
    return model.to(device or get_device()), classes
