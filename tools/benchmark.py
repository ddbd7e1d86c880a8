r"""Time our parts against their peers, in one run, in alternation.

    python tools/benchmark.py detector [--out results.json] [--rounds 5]
    python tools/benchmark.py all --json out.json --compare BASELINE
    python tools/benchmark.py scan
    python tools/benchmark.py head
    python tools/benchmark.py semi
    python tools/benchmark.py clip
    python tools/benchmark.py diffusion
    python tools/benchmark.py growth
    python tools/benchmark.py methods

``detector``: full training steps, loader to optimizer, of a config of ours,
of the official YOLOv9 code on the same data and of mmyolo's YOLOv8-n; and
inference of the re-parameterised model with its NMS at batch 1 and 16.
``scan``: our selective scans against mamba-ssm's ``selective_scan_ref``,
forward and backward; and the C++ forward against the time that its bytes and
its exponentials need on this machine. ``head``: a detector with MambaHead
against the same one without. ``semi``: a semi-supervised step against the sum
of its parts, and its memory against a supervised step of as many images.
``clip``: that step with and without the filter of ``CLIPFilterHook``; boxes
scored by pooling cached features and by crops; images scored from the cache
and one after the other. ``diffusion``: windows painted by our painter against
the plain loop of diffusers with the same UNet and steps; images read for
training with synthetic ones and without. ``growth``: training steps on noise
as images, batches, classes and processes grow, and samples of lists of 1,000
to 1,000,000 unlabelled images. ``methods``: inference of all detectors of the
paper's table 5, with their parameters and operations. The figures are ratios:
the median over the rounds with its quartiles.

``all`` is a short form of every suite for CI, planned to take 9 minutes on two
cores. With ``--compare`` its ratios are put beside those of a baseline, a JSON
list of such reports, one for each kind of machine: ``machine.features``,
``machine.cores`` and ``threads``. A comparison that fell by more than
``--tolerance``, a share of its ratio, is measured once more, for a busy moment
is no loss. The exit status is 1 if it fell again; 0 with one line if the
baseline has no machine of this kind; 2 with one line if it cannot be read, or
if a contender fails, such as a peer that is not installed.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from benchmarks.alternation import ContenderError
from benchmarks.baseline import (
    TOLERANCE,
    as_table,
    compare_with,
    kind_of,
    of_the_same_kind,
    only_of,
    read_baseline,
)
from benchmarks.comparison import Results
from benchmarks.short import short
from benchmarks.suites import ONLY, OURS, SUITES, YOLOV8
from json_file import write_json
from toolbox_script import stop

from dsym.errors import InputError
from dsym.provenance import describe_machine, git_commit

BENCHMARKS = dict(all=short, **SUITES)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('what', choices=list(BENCHMARKS))
    parser.add_argument('--config', default=str(OURS))
    parser.add_argument('--yolov8', default=str(YOLOV8))
    parser.add_argument(
        '--rounds', type=int, default=5, help='all has its own'
    )
    parser.add_argument(
        '--steps', type=int, default=8, help='a turn; all has its own'
    )
    parser.add_argument(
        '--only',
        choices=sorted({part for parts in ONLY.values() for part in parts}),
        help='steps or inference of detector and head; steps, limits or the\n'
        'reference of scan; painting or reading of diffusion; steps or\n'
        'samples of lists of growth',
    )
    parser.add_argument(
        '--out', '--json', type=Path, help='JSON of the results'
    )
    parser.add_argument('--compare', type=Path, help='JSON of a baseline')
    parser.add_argument(
        '--tolerance',
        type=float,
        default=TOLERANCE,
        help='share of a ratio that may be lost, 0.25 for a quarter',
    )
    return parser.parse_args()


def check_only(what: str, only: Optional[str]) -> None:
    """Stop if a suite has no such part: it would run all of them."""
    parts = ONLY.get(what, ())
    if only and only not in parts:
        remedy = f'give {" or ".join(parts)}' if parts else 'leave it out'
        stop(f'--only {only}: {what} has no such part: {remedy}')


def check_arguments(args: argparse.Namespace) -> None:
    """Stop for what would end the benchmark after minutes of measuring."""
    for key in ('rounds', 'steps'):
        if getattr(args, key) < 1:
            stop(f'--{key} {getattr(args, key)}: give 1 or more')
    for key in ('config', 'yolov8'):
        if not Path(getattr(args, key)).is_file():
            stop(f'--{key} {getattr(args, key)} does not exist')
    if not 0 <= args.tolerance < 1:
        stop(
            f'--tolerance {args.tolerance}: give a share from 0 to below 1, '
            'such as 0.25'
        )
    if args.out:
        try:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=args.out.parent):
                pass
        except OSError as error:
            stop(f'--out {args.out}: {error.strerror}: name another file')
        if args.out.is_dir():
            stop(f'--out {args.out} is a folder: name a file')


def load_baseline(path: Path, what: str, config: str) -> List[Dict[str, Any]]:
    """Read a baseline's reports of a benchmark, or stop before measuring."""
    if not path.is_file():
        stop(f'--compare {path} does not exist: give a baseline')
    try:
        reports = read_baseline(path)
    except ValueError:
        stop(
            f'--compare {path} is no baseline: give a list of reports of '
            '--json, as in [{...}]'
        )
    # rows of another benchmark have other names: all would have fallen
    mine = [x for x in reports if x.get('benchmark', what) == what]
    if not mine:
        stop(
            f'--compare {path} has no report of {what}: name one made by '
            f'tools/benchmark.py {what}'
        )
    # nor do ratios of two configs mean the same; older ones name none
    mine = [x for x in mine if x.get('config', config) == config]
    if not mine:
        stop(f'--compare {path} has no report of {config}: name one of it')
    kinds = [kind_of(x) for x in mine]
    for kind in kinds:
        if kinds.count(kind) > 1:
            stop(
                f'--compare {path} has two reports of {what} on {kind[1]} '
                f'cores with {kind[0]}: leave the older one out'
            )
    return mine


def main() -> None:
    """Run a benchmark and write its JSON."""
    args = parse_args()
    check_only(args.what, args.only)
    if importlib.util.find_spec('psutil') is None:
        stop('psutil, which counts memory, is missing: pip install psutil')
    check_arguments(args)
    config = Path(args.config).stem
    baseline = args.compare and load_baseline(args.compare, args.what, config)
    report = dict(
        benchmark=args.what,
        config=config,
        commit=git_commit(),
        machine=describe_machine(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        load=os.getloadavg()[0],
        seconds={},  # of each part
        results={},
    )
    measure(BENCHMARKS[args.what](args), report, args.out)
    if args.out:
        print(args.out)
    if baseline is None:
        return
    if args.only:  # what was not asked for has not fallen
        baseline = [only_of(x, report['results']) for x in baseline]
    fell = judge(report, baseline, args.tolerance)
    if fell and args.what == 'all':
        print(f'\nmeasured again: {", ".join(fell)}', flush=True)
        measure(short(args, fell), report, args.out)
        fell = judge(report, baseline, args.tolerance)
    sys.exit(int(bool(fell)))


def measure(
    parts: Results, report: Dict[str, Any], path: Optional[Path]
) -> None:
    """Run parts of a benchmark, or stop with one line if a contender fails.

    Args:
        parts (iterator): Of name and rows, measured when it is asked for.
        report (dict): Gets ``results`` and ``seconds`` of each.
        path (Path, optional): Of its JSON, written after each part: an
            interrupted run has what it measured.
    """
    begin = time.monotonic()
    try:
        for name, rows in parts:
            report['results'][name] = rows
            report['seconds'][name] = round(time.monotonic() - begin, 1)
            save(report, path)
            begin = time.monotonic()
    except (ContenderError, InputError) as error:
        stop(str(error))


def save(report: Dict[str, Any], path: Optional[Path]) -> None:
    """Write the JSON, if one is wanted."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, report)


def judge(
    report: Dict[str, Any], baseline: List[Dict[str, Any]], tolerance: float
) -> List[str]:
    """Print ratios beside a baseline's.

    Args:
        report (dict): What was measured.
        baseline (list[dict]): Reports of several kinds of machines.
        tolerance (float): Share by which a ratio may fall.

    Returns:
        list[str]: Comparisons that fell.
    """
    before = of_the_same_kind(baseline, report)
    if before is None:
        features, cores, threads = kind_of(report)
        print(
            'comparison left out: the baseline has no report with '
            f'machine.features {features}, {cores} cores and {threads} '
            'threads; add one made on such a machine'
        )
        return []
    rows = compare_with(report, before, tolerance)
    print(f'\nratios may fall by {tolerance:.0%} of the baseline')
    print(as_table(rows))
    return sorted({row.name.split(',')[0] for row in rows if row.fell})


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        stop('interrupted; --out has the parts that were measured.')
