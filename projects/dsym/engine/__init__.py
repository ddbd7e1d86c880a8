"""Hooks, loops and optimizer wrappers."""

from .preflight_hook import PreflightHook

__all__ = ['PreflightHook']
