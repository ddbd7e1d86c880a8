r"""How far a head sees: where the pixels lie that move its best class score.

    python tools/analysis_tools/receptive_field.py CONFIG CHECKPOINT \
        --cfg-options test_dataloader.dataset.split=dev --out field.json

At each level and in each test image, the place with the highest class score
is taken and the gradient of its logit with respect to the pixels, absolute
values (the effective receptive field of arXiv:1701.04128). Printed are the
distances in px of the network's input from the place's centre within which
50 and 90% of it lie, and the share beyond a quarter of the image's longer
side, as means over the images.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Dict, List

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, load_checkpoint
from torch import Tensor, nn

from dsym.errors import InputError
from dsym.provenance import describe_machine, git_commit


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


def spread(gradient: Tensor, place: Tensor) -> Dict[str, float]:
    """How a gradient lies around a place.

    Args:
        gradient (Tensor): Absolute values, ``(H, W)``.
        place (Tensor): ``(x, y)`` in px.

    Returns:
        dict[str, float]: ``r50`` and ``r90`` in px and ``beyond``, the share
        further away than a quarter of the longer side.
    """
    rows, columns = (torch.arange(n) + 0.5 for n in gradient.shape)
    distances = torch.hypot(
        rows[:, None] - place[1], columns[None] - place[0]
    ).flatten()
    order = distances.argsort()
    shares = gradient.flatten()[order].double().cumsum(0)
    shares = shares / shares[-1]
    distances = distances[order]

    def radius(share: float) -> float:
        return float(distances[torch.searchsorted(shares, share)])

    far = distances > max(gradient.shape) / 4
    beyond = float(1 - shares[~far][-1]) if (~far).any() else 1.0
    return dict(r50=radius(0.5), r90=radius(0.9), beyond=beyond)


def fields(model: nn.Module, images: Tensor) -> List[List[Dict[str, float]]]:
    """Spreads of a batch.

    Args:
        model (nn.Module): An mmyolo detector in eval mode.
        images (Tensor): As the data preprocessor gives them,
            ``(B, 3, H, W)``.

    Returns:
        list[list[dict[str, float]]]: A list a level, an entry an image.
    """
    images = images.requires_grad_()
    logits = model.bbox_head(model.extract_feat(images))[0]
    found = []
    for level in logits:
        width = level.size(3)
        stride = images.size(3) / width
        best, where = level.amax(1).flatten(1).max(1)
        (gradient,) = torch.autograd.grad(
            best.sum(), images, retain_graph=True
        )
        centres = torch.stack([where % width, where // width], 1)
        found.append(
            [
                spread(g, centre)
                for g, centre in zip(
                    gradient.abs().sum(1), (centres + 0.5) * stride
                )
            ]
        )
    return found


def main() -> None:
    """Measure and print."""
    args = parse_args()
    if args.out:  # what cannot be written is not worth measuring
        args.out.parent.mkdir(parents=True, exist_ok=True)
    config = Config.fromfile(args.config)
    config.merge_from_dict(args.cfg_options or {})
    init_default_scope(config.get('default_scope', 'mmdet'))
    loader = Runner.build_dataloader(config.test_dataloader)
    model = MODELS.build(config.model).eval()
    load_checkpoint(model, args.checkpoint, map_location='cpu', strict=True)
    levels: List[List[Dict[str, float]]] = []
    for batch in loader:
        batch = model.data_preprocessor(batch, False)
        found = fields(model, batch['inputs'])
        levels = levels or [[] for _ in found]
        for level, entries in zip(levels, found):
            level += entries
    rows = {
        f'level {i}': {
            key: sum(x[key] for x in level) / len(level) for key in level[0]
        }
        for i, level in enumerate(levels)
    }
    print(json.dumps(rows, indent=2))
    content = dict(
        config=Path(args.config).stem,
        split=config.test_dataloader.dataset.get('split'),
        images=len(levels[0]),
        levels=rows,
        commit=git_commit(),
        machine=describe_machine(),
    )
    if args.out:
        args.out.write_text(json.dumps(content, indent=2) + '\n')
        print(args.out)


if __name__ == '__main__':
    try:
        main()
    except (InputError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
