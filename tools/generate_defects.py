r"""Paint the synthetic images of a config's DiffusionAugment, and report.

    python tools/generate_defects.py CONFIG [--ratio 1] [--report DIR]

Training does the first by itself; the tool is for doing it before, and for
looking at the images: a gallery of real, kept and refused defects of each
class, and a JSON of what was kept, what was refused and why, and, with
``--clip``, of the kernel distance (KID) between real and synthetic defects on
the features of an adapted CLIP. An interrupted run goes on.
"""

import argparse
import json
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS, init_default_scope
from toolbox_script import one_line_errors, stop

from dsym.clip import load_scorer
from dsym.datasets.diffusion_augment import find_augment
from dsym.diffusion.synthetic_report import SyntheticReport
from dsym.diffusion.synthetic_settings import labelled_set
from dsym.provenance import describe_machine, git_commit
from dsym.visualization import save_figure


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--ratio', type=float, help="instead of the config's")
    parser.add_argument('--workers', type=int, help='processes that paint')
    parser.add_argument('--report', type=Path, help='folder of the report')
    parser.add_argument('--clip', help='of the features of distances')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Paint what is missing and write the report."""
    config = Config.fromfile(args.config)
    config.merge_from_dict(args.cfg_options or {})
    init_default_scope(config.get('default_scope', 'mmdet'))
    options = find_augment(config)
    if args.ratio is not None:
        options['ratio'] = args.ratio
    if args.workers is not None:
        options['num_workers'] = args.workers
    dataset = DATASETS.build(options)
    if dataset.ann_file is None:
        stop(f'{args.config}: ratio=0 asks for no synthetic image')
    print(dataset.ann_file)
    if args.report is None:
        return
    labelled = labelled_set(dataset.datasets[0])
    report = SyntheticReport(dataset.ann_file, labelled)
    scorer = None
    if args.clip:
        scorer = load_scorer(args.clip, labelled.metainfo['classes'])
    content = dict(
        report.summary(scorer),
        settings=report.coco['info']['settings'],
        commit=git_commit(),
        machine=describe_machine(),
    )
    args.report.mkdir(parents=True, exist_ok=True)
    target = args.report / 'synthetic.json'
    target.write_text(json.dumps(content, indent=2) + '\n')
    print(target)
    print(save_figure(report.gallery(), args.report / 'synthetic.png'))


def main() -> None:
    """Run, or end with one line for a mistake in the input."""
    args = parse_args()
    with one_line_errors():
        run(args)


if __name__ == '__main__':
    main()
