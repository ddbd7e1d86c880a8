"""Data sets: NEU-DET, users' own, and what checks and converts them."""

from .coco_export import dataset_to_coco
from .dataset_report import check_dataset, format_report
from .defect_dataset import DefectDataset
from .defect_voc import DefectVOCDataset
from .defect_windows import DefectWindowDataset
from .detected_boxes import DetectedBoxDataset
from .diffusion_augment import DiffusionAugment
from .image_checks import check_images
from .issues import DatasetError, Issue
from .neu_det import NEUDETDataset
from .neu_det_meta import CLASSES, PALETTE
from .samplers import PermutedSampler, SeededSampler
from .split_lists import published_splits
from .steel_synth import SteelSynthDataset
from .streamed_images import StreamedImageDataset
from .transforms import CenterBrightness, LoadCachedImageFromFile
from .verified_coco import VerifiedCocoDataset
from .verified_images import VerifiedImagesMixin
from .yolo_txt import YOLOTxtDataset

__all__ = [
    'CLASSES',
    'PALETTE',
    'CenterBrightness',
    'DatasetError',
    'DefectDataset',
    'DefectVOCDataset',
    'DefectWindowDataset',
    'DetectedBoxDataset',
    'DiffusionAugment',
    'Issue',
    'LoadCachedImageFromFile',
    'NEUDETDataset',
    'PermutedSampler',
    'SeededSampler',
    'SteelSynthDataset',
    'StreamedImageDataset',
    'VerifiedCocoDataset',
    'VerifiedImagesMixin',
    'YOLOTxtDataset',
    'check_dataset',
    'check_images',
    'dataset_to_coco',
    'format_report',
    'published_splits',
]
