"""Hooks, loops and optimizer wrappers."""

from .channels_last_hook import ChannelsLastHook
from .preflight_hook import PreflightHook

__all__ = ['ChannelsLastHook', 'PreflightHook']
