r"""Report what CLIP says about labelled regions, and the thresholds it gives.

    python tools/calibrate_clip.py CONFIG --clip work_dirs/clip/clip \
        --out-dir work_dirs/calibration

The labelled images are those of the config's ``train_dataloader``. Scores of
true boxes, badly placed ones, other classes and background are drawn; for
each class the lowest threshold above which the wanted share is right is
chosen. ``CLIPFilterHook`` does the same when phase 2 begins; this shows it.
Scores on images that the model was adapted to are better than on others: give
``--cfg-options train_dataloader.dataset.split=...`` for others.
"""

import argparse
import json
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS, init_default_scope

from dsym.clip import load_scorer
from dsym.clip.calibration import calibrate, labelled_samples
from dsym.clip.scorer import MODES
from dsym.evaluation.pseudo_label_audit import nan_to_none
from dsym.visualization import calibration_figure, save_figure


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config', help='of a detector, for its labelled set')
    parser.add_argument('--clip', required=True, help='a folder or a name')
    parser.add_argument('--pretrained', help='of a name')
    parser.add_argument('--mode', choices=MODES, default='softmax')
    parser.add_argument('--precision', type=float, default=0.8)
    parser.add_argument(
        '--prior', type=float, default=0.6, help='precision before'
    )
    parser.add_argument('--cache-dir')
    parser.add_argument('--out-dir', type=Path, required=True)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


def main() -> None:
    """Calibrate, write the JSON and draw the curves."""
    args = parse_args()
    config = Config.fromfile(args.config)
    config.merge_from_dict(args.cfg_options or {})
    init_default_scope(config.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(config.train_dataloader.dataset)
    classes = tuple(dataset.metainfo['classes'])
    scorer = load_scorer(
        args.clip,
        classes,
        args.mode,
        args.pretrained,
        cache_dir=args.cache_dir,
    )
    found = calibrate(
        scorer, labelled_samples(dataset), args.precision, args.prior
    )
    args.out_dir.mkdir(parents=True, exist_ok=True)
    report = args.out_dir / 'calibration.json'
    content = nan_to_none(found.to_dict())
    report.write_text(json.dumps(content, indent=2) + '\n')
    figure = calibration_figure(found.scores, found.tau, found.auroc, classes)
    print(report)
    print(save_figure(figure, args.out_dir / 'calibration.png'))


if __name__ == '__main__':
    main()
