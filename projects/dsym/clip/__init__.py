"""CLIP: prompts, grading of boxes, adaptation to defects."""

from .adapted import load_scorer
from .grader import CLIPGrader
from .models import LoadedCLIP, build_clip, check_clip, load_clip, save_clip
from .prompts import Prompts, encode_prompts
from .pseudo_label_filter import PseudoLabelFilter
from .region_targets import RegionSampler
from .regions import RegionSettings
from .scorer import CLIPScorer

__all__ = [
    'CLIPGrader',
    'CLIPScorer',
    'LoadedCLIP',
    'Prompts',
    'PseudoLabelFilter',
    'RegionSampler',
    'RegionSettings',
    'build_clip',
    'check_clip',
    'encode_prompts',
    'load_clip',
    'load_scorer',
    'save_clip',
]
