r"""Report what CLIP says about labelled regions, and the thresholds it gives.

    python tools/calibrate_clip.py CONFIG --clip work_dirs/clip/clip \
        --out-dir work_dirs/calibration

The labelled images are those of the config's ``train_dataloader``, without
synthetic ones; the settings are those of its ``CLIPFilterHook``, or that
hook's own, and the options here come before both. Scores of true boxes, badly
placed ones, other classes and background are drawn; for each class the lowest
threshold above which the wanted share is right is chosen. ``CLIPFilterHook``
does the same when phase 2 begins; this shows it. Scores on images that the
model was adapted to are better than on others: give ``--cfg-options
train_dataloader.dataset.split=...`` for others.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Dict

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from toolbox_script import one_line_errors

from dsym.clip.calibration import calibrate, labelled_samples
from dsym.clip.scorer import MODES
from dsym.datasets.real_images import labelled_images
from dsym.engine import CLIPFilterHook
from dsym.evaluation.pseudo_label_audit import nan_to_none
from dsym.visualization import calibration_figure, save_figure

OPTIONS = ('clip', 'pretrained', 'mode', 'precision', 'prior', 'cache_dir')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config', help='of a detector, for its labelled set')
    parser.add_argument('--clip', help='a folder or a name')
    parser.add_argument('--pretrained', help='of a name')
    parser.add_argument('--mode', choices=MODES)
    parser.add_argument('--precision', type=float)
    parser.add_argument('--prior', type=float, help='precision before')
    parser.add_argument('--cache-dir')
    parser.add_argument('--out-dir', type=Path, required=True)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


def filter_hook(config: Config, args: argparse.Namespace) -> CLIPFilterHook:
    """Make the hook of a config, with what the command line says.

    Args:
        config (Config): With or without such a hook.
        args (argparse.Namespace): Its options that are not None count.

    Returns:
        CLIPFilterHook: For its settings.
    """
    settings: Dict[str, Any] = {}
    for hook in config.get('custom_hooks') or []:
        if hook['type'] in ('CLIPFilterHook', CLIPFilterHook):
            settings = dict(hook)
    for name in ('type', 'priority'):
        settings.pop(name, None)
    if args.clip:  # another model has other weights
        settings.pop('pretrained', None)
    given = {name: getattr(args, name) for name in OPTIONS}
    settings.update({k: v for k, v in given.items() if v is not None})
    return CLIPFilterHook(**settings)


def run(args: argparse.Namespace) -> None:
    """Calibrate, write the JSON and draw the curves."""
    config = Config.fromfile(args.config)
    config.merge_from_dict(args.cfg_options or {})
    init_default_scope(config.get('default_scope', 'mmdet'))
    hook = filter_hook(config, args)
    dataset = labelled_images(config)
    classes = tuple(dataset.metainfo['classes'])
    found = calibrate(
        hook.load(classes),
        labelled_samples(dataset),
        hook.precision,
        hook.prior,
        wrong_shares=hook.wrong_shares,
    )
    args.out_dir.mkdir(parents=True, exist_ok=True)
    report = args.out_dir / 'calibration.json'
    content = nan_to_none(found.to_dict())
    report.write_text(json.dumps(content, indent=2) + '\n')
    figure = calibration_figure(found.scores, found.tau, found.auroc, classes)
    print(report)
    print(save_figure(figure, args.out_dir / 'calibration.png'))


def main() -> None:
    """Run, or say in one line what is wrong with the input."""
    args = parse_args()
    with one_line_errors():
        run(args)


if __name__ == '__main__':
    main()
