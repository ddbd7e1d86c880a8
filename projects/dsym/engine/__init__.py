"""Hooks, loops and optimizer wrappers."""

from .bf16_optim_wrapper import BF16OptimWrapper
from .bias_warmup_hook import BiasWarmupHook
from .channels_last_hook import ChannelsLastHook
from .close_mosaic_hook import CloseMosaicHook
from .cpu_threads_hook import CPUThreadsHook
from .foreach_ema import ForeachExpMomentumEMA
from .grouped_optim_constructor import GroupedOptimWrapperConstructor
from .muon_adamw import MuonAdamW
from .preflight_hook import PreflightHook

__all__ = [
    'BF16OptimWrapper',
    'BiasWarmupHook',
    'CPUThreadsHook',
    'ChannelsLastHook',
    'CloseMosaicHook',
    'ForeachExpMomentumEMA',
    'GroupedOptimWrapperConstructor',
    'MuonAdamW',
    'PreflightHook',
]
