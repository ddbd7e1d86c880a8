"""Pipeline transforms."""

from .cached_loading import LoadCachedImageFromFile
from .center_brightness import CenterBrightness

__all__ = ['CenterBrightness', 'LoadCachedImageFromFile']
