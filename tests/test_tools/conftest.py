"""Fixtures of small data sets."""

from dataset_files import session_cache, voc_root  # noqa: F401
