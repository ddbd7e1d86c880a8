"""Hooks, loops and optimizer wrappers."""

from .bf16_optim_wrapper import BF16OptimWrapper
from .bias_warmup_hook import BiasWarmupHook
from .channels_last_hook import ChannelsLastHook
from .clip_filter_hook import CLIPFilterHook
from .close_mosaic_hook import CloseMosaicHook
from .close_synthetic_hook import CloseSyntheticHook
from .cpu_threads_hook import CPUThreadsHook
from .ema_schedules import AdaptiveEMA, ConstantEMA, CosineEMA, WarmupEMA
from .ensemble_teacher_hook import EnsembleTeacherHook
from .evaluation_progress_hook import EvaluationProgressHook
from .export_clip_hook import ExportCLIPHook
from .export_diffusion_hook import ExportDiffusionHook
from .finite_loss_hook import FiniteLossHook
from .foreach_ema import ForeachExpMomentumEMA
from .grouped_optim_constructor import GroupedOptimWrapperConstructor
from .mean_teacher_loop import MeanTeacherLoop
from .muon_adamw import MuonAdamW
from .partial_epoch_train_loop import PartialEpochTrainLoop
from .phase_timer_hook import PhaseTimerHook
from .preflight_hook import PreflightHook
from .pseudo_label_audit_hook import PseudoLabelAuditHook
from .stop_after_minutes_hook import StopAfterMinutesHook
from .true_labels_hook import TrueLabelsHook

__all__ = [
    'AdaptiveEMA',
    'BF16OptimWrapper',
    'BiasWarmupHook',
    'CLIPFilterHook',
    'CPUThreadsHook',
    'ChannelsLastHook',
    'CloseMosaicHook',
    'CloseSyntheticHook',
    'ConstantEMA',
    'CosineEMA',
    'EnsembleTeacherHook',
    'EvaluationProgressHook',
    'ExportCLIPHook',
    'ExportDiffusionHook',
    'FiniteLossHook',
    'ForeachExpMomentumEMA',
    'GroupedOptimWrapperConstructor',
    'MeanTeacherLoop',
    'MuonAdamW',
    'PartialEpochTrainLoop',
    'PhaseTimerHook',
    'PreflightHook',
    'PseudoLabelAuditHook',
    'StopAfterMinutesHook',
    'TrueLabelsHook',
    'WarmupEMA',
]
