r"""What the scans of a trained MambaHead give: evaluate it without some.

    python tools/analysis_tools/ablate_scans.py CONFIG CHECKPOINT \
        --cfg-options test_dataloader.dataset.split=dev --out scans.json

Nothing is trained again: the last projection of the scans that are left out
is set to zero, as it was at the start. Also measured, with all of them: how
large what a scan adds is, in parts of what goes into it (root of the mean
square over all images and places).
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Dict, List, Sequence

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from torch import nn

from dsym.errors import InputError
from dsym.models.layers import Scan2D
from dsym.provenance import describe_machine, git_commit

FIGURES = ('mAP_50', 'mAP')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    parser.add_argument('--out', type=Path)
    return parser.parse_args()


def find_scans(model: nn.Module) -> Dict[str, Scan2D]:
    """Scans by their whole name.

    Args:
        model (nn.Module): A detector.

    Returns:
        dict[str, Scan2D]: In the order of the modules.

    Raises:
        InputError: If there are none, or those of a student and its teacher.
    """
    if hasattr(model, 'student'):
        raise InputError(
            'has a student and a teacher, each with scans of its own: give '
            'the config of the plain detector'
        )
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Scan2D)
    }
    if not found:
        raise InputError('has no scans: give a MambaHead')
    return found


def ending(name: str) -> str:
    """Branch and level of a scan, such as ``cls_scans.0``."""
    return '.'.join(name.split('.')[-2:])


def short_names(names: Sequence[str]) -> Dict[str, str]:
    """What scans are called: the end of the name, if no other has it.

    Args:
        names (Sequence[str]): Whole ones.

    Returns:
        dict[str, str]: By the whole name.
    """
    counts = Counter(map(ending, names))
    return {x: ending(x) if counts[ending(x)] == 1 else x for x in names}


def choices(names: List[str]) -> Dict[str, List[str]]:
    """What is left out in turn: nothing, all, a branch, a level.

    Args:
        names (list[str]): Of scans, whole ones.

    Returns:
        dict[str, list[str]]: Some of them by a title.
    """
    parts = [part for name in names for part in ending(name).split('.')]
    found = {'nothing': [], 'all': names}
    for part in sorted({*parts}):
        title = f'level {part}' if part.isdigit() else part
        found[title] = [x for x in names if part in ending(x).split('.')]
    return found


class Sizes:
    """How large what scans add is, noted while a model predicts.

    Args:
        scans (dict[str, Scan2D]): By name.
    """

    def __init__(self, scans: Dict[str, Scan2D]) -> None:
        self.sums = {name: [0.0, 0.0] for name in scans}
        self.handles = [
            scan.register_forward_hook(self.note(name))
            for name, scan in scans.items()
        ]

    def note(self, name: str):
        """A hook that adds up squares of what comes in and is added."""

        def hook(scan, inputs, output) -> None:
            before, added = self.sums[name], output - inputs[0]
            before[0] += float(added.double().square().sum())
            before[1] += float(inputs[0].double().square().sum())

        return hook

    def close(self) -> Dict[str, float]:
        """Remove the hooks; what each scan adds in parts of its input."""
        for handle in self.handles:
            handle.remove()
        return {
            name: (added / given) ** 0.5
            for name, (added, given) in self.sums.items()
        }


@torch.no_grad()
def main() -> None:
    """Evaluate and print."""
    args = parse_args()
    if args.out:  # what cannot be written is not worth measuring
        args.out.parent.mkdir(parents=True, exist_ok=True)
    config = Config.fromfile(args.config)
    config.merge_from_dict(args.cfg_options or {})
    config.load_from = args.checkpoint
    # a checkpoint's weights are the average; EMAHook would put its own copy
    # in their place
    config.custom_hooks = []
    config.work_dir = tempfile.mkdtemp(prefix='dsym-scans-')
    runner = Runner.from_cfg(config)
    try:
        scans = find_scans(runner.model)
    except InputError as error:
        raise InputError(f'{args.config} {error}') from None
    runner.load_or_resume()
    titles = short_names([*scans])
    whole = {
        name: [mixer.out_proj.weight.clone() for mixer in scan.mixers]
        for name, scan in scans.items()
    }
    rows, sizes = {}, {}
    for title, left_out in choices([*scans]).items():
        for name, scan in scans.items():
            for mixer, weight in zip(scan.mixers, whole[name]):
                mixer.out_proj.weight.copy_(weight * (name not in left_out))
        noted = Sizes(scans if title == 'nothing' else {})
        found = runner.test()
        sizes = sizes or {titles[k]: v for k, v in noted.close().items()}
        rows[title] = {
            key: next(v for k, v in found.items() if k.endswith(f'/{key}'))
            for key in FIGURES
        }
        print(f'without {title}: {rows[title]}')
    content = dict(
        config=Path(args.config).stem,
        split=config.test_dataloader.dataset.get('split'),
        without=rows,
        added=sizes,
        commit=git_commit(),
        machine=describe_machine(),
    )
    print(json.dumps(sizes, indent=2))
    if args.out:
        args.out.write_text(json.dumps(content, indent=2) + '\n')
        print(args.out)


if __name__ == '__main__':
    try:
        main()
    except (InputError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
