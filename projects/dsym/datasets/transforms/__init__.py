"""Pipeline transforms."""

from .cached_loading import LoadCachedImageFromFile

__all__ = ['LoadCachedImageFromFile']
