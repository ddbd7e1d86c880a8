"""A whole way on synthetic steel: data, training, evaluation, report.

Usage: python tools/demo.py CONFIG [--work-dir DIR] [--cfg-options K=V ...]

Each step is the ordinary tool that a user would call; the command is printed.
A second call goes on where an interrupted one stopped and repeats no finished
step. A changed config or option gets a work_dir of its own.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS
from studies.resume import last_checkpoint, mend_last_checkpoint
from toolbox_script import stop

from dsym.provenance import config_hash

TOOLS = Path(__file__).resolve().parent
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config', help='config of the detector')
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs') / 'demo',
        help='parent of the work_dir (default: %(default)s)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='overrides, as in tools/train.py',
    )
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> Config:
    """Load the config with its overrides."""
    if not Path(args.config).is_file():
        stop(
            f'there is no config {args.config}: name one of configs/, as in '
            "'make demo DEMO_CONFIG=...'"
        )
    config = Config.fromfile(args.config)
    if args.cfg_options:
        parser = argparse.ArgumentParser()
        parser.add_argument('--cfg-options', nargs='+', action=DictAction)
        options = parser.parse_args(['--cfg-options', *args.cfg_options])
        config.merge_from_dict(options.cfg_options)
    return config


def make_data(config: Config) -> str:
    """Generate the data sets that the config names.

    Returns:
        str: How many images each of them has.
    """
    found = []
    for loader in LOADERS:
        if config.get(loader):
            dataset = DATASETS.build(config[loader].dataset)
            found.append(f'{len(dataset)} for {loader.split("_")[0]}')
    return 'images: ' + ', '.join(found)


def call(tool: str, *arguments: str) -> None:
    """Run one of the tools; its failure ends the demo."""
    command = [sys.executable, str(TOOLS / tool), *arguments]
    print(f'[demo] $ {shlex.join(command)}', flush=True)
    code = subprocess.run(command).returncode
    if code:
        stop(
            f'{tool} ended with status {code}, see above; after the remedy '
            'the same command goes on from here.'
        )


def main() -> None:
    """Run the steps."""
    args = parse_args()
    config = load_config(args)
    name = f'{Path(args.config).stem}_{config_hash(config)}'
    work_dir = args.work_dir / name
    work_dir.mkdir(parents=True, exist_ok=True)
    options = ['--work-dir', str(work_dir)]
    if args.cfg_options:
        options += ['--cfg-options', *args.cfg_options]

    def train() -> None:
        mend_last_checkpoint(work_dir)
        call('train.py', args.config, '--resume', *options)

    def test() -> None:
        last = str(last_checkpoint(work_dir))
        saved = [
            f'test_evaluator.outfile_prefix={work_dir / "test"}',
            'test_evaluator.save_predictions=True',
        ]
        call('test.py', args.config, last, *options, '--cfg-options', *saved)

    def draw() -> None:
        call('analysis_tools/plot_run.py', str(work_dir))

    def report() -> None:
        call('report.py', str(work_dir), '--out', str(page))

    page = work_dir / 'report.html'
    print(f'[demo] 1/5 data; {make_data(config)}', flush=True)
    steps = {
        'training': train,
        'evaluation': test,
        'figures': draw,
        'report': report,
    }
    for number, (name, step) in enumerate(steps.items(), 2):
        stamp = work_dir / f'.{name}-done'
        if stamp.exists():
            print(f'[demo] {number}/5 {name}: done before', flush=True)
            continue
        print(f'[demo] {number}/5 {name}', flush=True)
        start = time.monotonic()
        step()
        stamp.touch()
        minutes = (time.monotonic() - start) / 60
        print(f'[demo] {number}/5 {name}: {minutes:.1f} min', flush=True)

    print(f'[demo] checkpoint: {last_checkpoint(work_dir)}')
    for path in sorted((work_dir / 'figures').glob('*.png')):
        print(f'[demo] figure: {path}')
    print(f'[demo] report: {page}, to be opened in a browser')


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        stop('interrupted; the same command goes on from here.')
