"""Turn a semi-supervised checkpoint into a plain detector.

Writes OUT_DIR/detector.pth, weights only, and OUT_DIR/detector.py, a full
config for tools/test.py and mmdet's DetInferencer. Both describe the teacher,
or the student with --which. The run's config is read from the checkpoint; it
is taken for data, its code is never run.

An EMAHook beside a mean teacher keeps an average of the teacher's average:
the teacher itself is exported then, but the average of the student.

    python tools/export_detector.py work_dirs/my_run/epoch_200.pth exported
"""

import argparse
import ast
from pathlib import Path
from typing import Any, Dict, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader
from mmengine.utils import import_modules_from_strings
from toolbox_script import one_line_errors
from torch import Tensor

import dsym  # noqa: F401  registers its classes, loads checkpoints safely
from dsym.errors import InputError

PARTS = ('teacher', 'student')
# What a config needs beside its model to test and to infer.
KEPT_KEYS = (
    'custom_imports',
    'default_scope',
    'test_pipeline',
    'test_dataloader',
    'test_evaluator',
    'test_cfg',
    'tta_pipeline',
    'tta_model',
    'env_cfg',
    'vis_backends',
    'visualizer',
    'log_processor',
    'log_level',
)
KEPT_DEFAULT_HOOKS = ('timer', 'logger', 'visualization', 'preflight')
KEPT_CUSTOM_HOOKS = ('CPUThreadsHook', 'ChannelsLastHook')
# What a preprocessor does to pixels; the rest is about batches in training.
PIXEL_KEYS = (
    'mean',
    'std',
    'bgr_to_rgb',
    'rgb_to_bgr',
    'pad_size_divisor',
    'pad_value',
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a semi-supervised run')
    parser.add_argument('out_dir', type=Path)
    parser.add_argument(
        '--config', help="the run's config; default: the checkpoint's own"
    )
    parser.add_argument('--which', choices=PARTS, default='teacher')
    return parser.parse_args()


def literal(node: ast.AST) -> Any:
    """Evaluate plain values and ``dict(...)``, which MMEngine writes.

    Raises:
        ValueError: If the expression is anything else.
    """
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [literal(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return dict(zip(map(literal, node.keys), map(literal, node.values)))
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'dict':
        named = {k.arg: literal(k.value) for k in node.keywords}
        if None not in named:
            return dict(*map(literal, node.args), **named)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -literal(node.operand)
    if isinstance(node, ast.Name) and node.id in ('inf', 'nan'):
        return float(node.id)
    return ast.literal_eval(node)


def parse_config(text: str) -> Config:
    """Read the text of a config as data, without running it.

    Args:
        text (str): What ``Config.pretty_text`` gave.

    Returns:
        Config: The config.

    Raises:
        InputError: If there is more in it than assignments of plain values.
    """
    config = {}
    try:
        for statement in ast.parse(text).body:
            if not isinstance(statement, ast.Assign):
                raise ValueError
            config[statement.targets[0].id] = literal(statement.value)
    except (SyntaxError, ValueError, TypeError, AttributeError):
        raise InputError(
            "the checkpoint's config holds more than plain values and was "
            "not run: give the run's config file with --config"
        ) from None
    return Config(config)


def read_config(path: str, checkpoint: Dict[str, Any], source: str) -> Config:
    """Read the run's config from its file, or from the checkpoint.

    Args:
        path (str): The file, or None.
        checkpoint (dict): As MMEngine saved it.
        source (str): The checkpoint's name for messages.

    Returns:
        Config: The config of the semi-supervised run.

    Raises:
        InputError: If there is none, or it is of another kind.
    """
    if path:
        config = Config.fromfile(path)
    else:
        text = checkpoint.get('meta', {}).get('cfg')
        if not text:
            raise InputError(
                f"{source} holds no config: give the run's with --config"
            )
        config = parse_config(text)
    if 'detector' not in config.get('model', {}):
        raise InputError(
            f'{path or source}: its config has no model.detector; give the '
            'config of the semi-supervised run with --config'
        )
    if 'test_dataloader' not in config:
        raise InputError(
            f'{path or source}: its config has no test_dataloader, whose '
            'pipeline a detector needs; add one and give it with --config'
        )
    return config


def extract_weights(
    checkpoint: Dict[str, Any], which: str, source: str
) -> Dict[str, Tensor]:
    """Take one part's weights out of a checkpoint.

    Args:
        checkpoint (dict): As MMEngine saved it.
        which (str): ``'teacher'`` or ``'student'``.
        source (str): The checkpoint's name for messages.

    Returns:
        dict[str, Tensor]: The state_dict of the plain detector.

    Raises:
        InputError: If the part is not there.
    """
    state = checkpoint.get('state_dict', checkpoint)
    found = [
        part
        for part in PARTS
        if any(key.startswith(f'{part}.') for key in state)
    ]
    if not found:
        raise InputError(
            f'{source} has no teacher.* entries: it is a plain detector '
            'already; use it with its own config'
        )
    if which not in found:
        raise InputError(
            f'{source} has no {which}.* entries: use --which {found[0]}'
        )
    prefix = f'{which}.'
    if which == 'teacher' and 'ema_state_dict' in checkpoint:
        # EMAHook saves its average as state_dict and the model itself here.
        state, prefix = checkpoint['ema_state_dict'], 'module.teacher.'
    return {
        # torch.save would write all of a storage that tensors share
        key[len(prefix) :]: value.clone()
        for key, value in state.items()
        if key.startswith(prefix)
    }


def detector_config(config: Config) -> Config:
    """Make the config of the plain detector.

    Its preprocessor is the detector's own, which fits its loaders, with the
    pixel values of the semi-supervised model's, which both parts saw.

    Args:
        config (Config): The config of the semi-supervised run.

    Returns:
        Config: A full config to test and to infer with.
    """
    outer = config.model.get('data_preprocessor') or {}
    outer = outer.get('data_preprocessor', outer)
    model = dict(config.model.detector)
    inner = model.get('data_preprocessor') or outer
    if outer:
        model['data_preprocessor'] = {
            **{k: v for k, v in inner.items() if k not in PIXEL_KEYS},
            **{k: v for k, v in outer.items() if k in PIXEL_KEYS},
        }
    out = {key: config[key] for key in KEPT_KEYS if key in config}
    if out.get('test_cfg', {}).get('type') != 'TestLoop':
        out['test_cfg'] = dict(type='TestLoop')
    out['model'] = model
    out['default_hooks'] = {
        name: hook
        for name, hook in config.get('default_hooks', {}).items()
        if name in KEPT_DEFAULT_HOOKS
    }
    out['custom_hooks'] = [
        hook
        for hook in config.get('custom_hooks', [])
        if hook['type'] in KEPT_CUSTOM_HOOKS
    ]
    return Config(out)


def check_fit(config: Config, state: Dict[str, Tensor], source: str) -> None:
    """Raise :class:`InputError` if weights and config do not fit."""
    if 'custom_imports' in config:
        import_modules_from_strings(**config.custom_imports)
    scope = config.get('default_scope', 'mmdet')
    with DefaultScope.overwrite_default_scope(scope):
        expected = MODELS.build(config.model).state_dict()
    wrong = sorted(
        key
        for key in expected.keys() | state.keys()
        if key not in expected
        or key not in state
        or expected[key].shape != state[key].shape
    )
    if wrong:
        raise InputError(
            f'{source}: {len(wrong)} entries do not fit model.detector, as '
            f'{wrong[0]}; give the config it was trained with by --config'
        )


def export(
    source: str, out_dir: Path, config_file: str, which: str
) -> Tuple[Path, Path]:
    """Write config and weights of the plain detector.

    Args:
        source (str): Checkpoint of a semi-supervised run.
        out_dir (Path): Folder that is made for both files.
        config_file (str): The run's config, or None.
        which (str): ``'teacher'`` or ``'student'``.

    Returns:
        tuple[Path, Path]: Config and weights.

    Raises:
        InputError: If a part is missing or does not fit.
    """
    checkpoint = CheckpointLoader.load_checkpoint(source, map_location='cpu')
    state = extract_weights(checkpoint, which, source)
    config = detector_config(read_config(config_file, checkpoint, source))
    check_fit(config, state, source)
    meta = checkpoint.get('meta', {})
    out_dir.mkdir(parents=True, exist_ok=True)
    paths = out_dir / 'detector.py', out_dir / 'detector.pth'
    config.dump(str(paths[0]))
    kept = {k: meta[k] for k in ('dataset_meta',) if k in meta}
    torch.save(dict(state_dict=state, meta=kept), paths[1])
    return paths


def main() -> None:
    """Export one detector."""
    args = parse_args()
    with one_line_errors():
        paths = export(args.checkpoint, args.out_dir, args.config, args.which)
    print(f'{args.which} of {args.checkpoint}:')
    for path in paths:
        print(path)


if __name__ == '__main__':
    main()
