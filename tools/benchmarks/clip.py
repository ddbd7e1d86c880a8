"""CLIP's share of a step, and the ways to score boxes, as contenders."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import List, Tuple

import open_clip
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.nn import functional as F

from dsym.clip import (
    Prompts,
    RegionSettings,
    build_clip,
    load_clip,
    save_clip,
)
from dsym.clip.pseudo_label_filter import PseudoLabelFilter
from dsym.clip.scorer import CLIPScorer, squash
from dsym.engine import CLIPFilterHook
from dsym.models.detectors import DSYMDetector

from .alternation import Gate
from .detectors import load_config

CLIP = (
    Path(__file__).resolve().parents[2]
    / 'configs'
    / '_base_'
    / 'models'
    / 'clip_rn_t.py'
)


def random_clip(folder: str) -> str:
    """Write the small CLIP with random weights, which take as long.

    Args:
        folder (str): Where to.

    Returns:
        str: The same.
    """
    model = Config.fromfile(CLIP).model
    torch.manual_seed(0)
    clip = build_clip(model.clip.to_dict())
    prompts = Prompts(tuple(model.classes), **model.prompts.to_dict())
    regions = RegionSettings(**model.regions.to_dict())
    clip.settings = dict(prompts=prompts.to_dict(), regions=regions.to_dict())
    save_clip(clip, folder)
    return folder


def attach_filter(
    runner: Runner, model: DSYMDetector, **options
) -> PseudoLabelFilter:
    """Attach a filter that scores every box, its cache warm.

    Args:
        runner (Runner): Its loop is built.
        model (DSYMDetector): What it is attached to.
        **options: Of ``CLIPFilterHook``.

    Returns:
        PseudoLabelFilter: It asks whether images are usual, and refuses none.
    """
    folder = tempfile.mkdtemp()
    hook = CLIPFilterHook(
        clip=random_clip(folder),
        action='reweight',
        tau=0.5,
        image_tau=1e-6,
        cache_dir=f'{folder}/cache',
        **options,
    )
    judge = hook.build(runner)
    judge.typical_tau = float('-inf')
    model.attach_filter(judge)
    return judge


@dataclass
class ScoreBoxes:
    """Score the same boxes over and over, 4 in each of 16 images.

    Attributes:
        config (str): Of a semi-supervised training, for its images.
        way (str): 'dense' or 'crops'.
    """

    config: str
    way: str

    def __call__(self, gate: Gate) -> None:
        """Compute until the gate says stop."""
        paths, shapes = images(self.config)
        clip = load_clip(random_clip(tempfile.mkdtemp()))
        settings = {**clip.settings['regions'], 'way': self.way}
        scorer = CLIPScorer(
            clip,
            Prompts(**clip.settings['prompts']),
            RegionSettings(**settings),
            cache_dir=tempfile.mkdtemp(),
        )
        generator = torch.Generator().manual_seed(0)
        start = torch.rand((len(paths), 4, 2), generator=generator) * 100
        side = 40 + torch.rand((len(paths), 4, 2), generator=generator) * 60
        boxes = [*torch.cat([start, start + side], 2)]
        while True:
            scorer.region_scores(paths, boxes, shapes)
            gate()


@dataclass
class ScoreImages:
    """Score 16 images with ViT-B-32.

    Attributes:
        config (str): Of a semi-supervised training, for its images.
        cached (bool): From a warm cache, or one after the other through the
            tower as the paper's code does.
    """

    config: str
    cached: bool

    def __call__(self, gate: Gate) -> None:
        """Compute until the gate says stop."""
        paths, shapes = images(self.config)
        torch.manual_seed(0)
        config = open_clip.get_model_config('ViT-B-32')
        clip = build_clip(dict(model_cfg=config)).eval()
        scorer = CLIPScorer(
            clip,
            Prompts(('defect',), normal=('a photo without defect',)),
            RegionSettings(),
            cache_dir=tempfile.mkdtemp(),
        )
        while True:
            if self.cached:
                scorer.image_scores(paths, shapes)
            else:
                for path in paths:
                    one_image(scorer, path)
            gate()


@torch.no_grad()
def one_image(scorer: CLIPScorer, path: str) -> torch.Tensor:
    """Decode, encode and compare one image."""
    clip = scorer.clip
    image = clip.normalize(squash(scorer.load(path), clip.size)[None])
    embedded = F.normalize(clip.model.encode_image(image).float(), dim=1)
    return (scorer.scale * embedded @ scorer.texts.T).softmax(1)


def images(config: str) -> Tuple[List[str], List[Tuple[int, int]]]:
    """The first 16 unlabelled images of a config and their shapes."""
    loader = load_config(config, {}).train_cfg.unlabeled_dataloader
    dataset = DATASETS.build(loader.dataset)
    infos = [dataset.get_data_info(i) for i in range(16)]
    return (
        [x['img_path'] for x in infos],
        [(x['height'], x['width']) for x in infos],
    )
