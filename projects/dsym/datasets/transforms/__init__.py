"""Pipeline transforms."""

from .cached_loading import LoadCachedImageFromFile
from .center_brightness import CenterBrightness
from .drop_dataset import DropDataset
from .mild_blur import MildBlur
from .random_gamma import RandomGamma
from .random_phase import RandomPhase
from .random_transpose import RandomTranspose
from .seed_augmentations import SeedAugmentations
from .sensor_noise import SensorNoise
from .tracked_geometry import TrackedLetterResize, TrackedRandomAffine

__all__ = [
    'CenterBrightness',
    'DropDataset',
    'LoadCachedImageFromFile',
    'MildBlur',
    'RandomGamma',
    'RandomPhase',
    'RandomTranspose',
    'SeedAugmentations',
    'SensorNoise',
    'TrackedLetterResize',
    'TrackedRandomAffine',
]
