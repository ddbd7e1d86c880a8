"""The official YOLOv9 code's training on the plan of one of our configs."""

from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, init_default_scope
from torch import nn

import dsym  # noqa: F401  makes mmyolo importable and registers the data sets
from dsym.bf16 import faster_in_bf16
from dsym.engine.last_epochs_hook import count_last_epochs
from dsym.engine.minutes_budget import MinutesBudget
from dsym.errors import InputError

from .official_yolov9 import import_official

# Of the official hyp.scratch-high.yaml, without mixup and copy-paste, which
# need masks or hide small defects; scale and flips as our pipelines.
HYP = dict(
    box=7.5, cls=0.5, dfl=1.5, cls_pw=1.0, fl_gamma=0.0, label_smoothing=0.0,
    hsv_h=0.015, hsv_s=0.7, hsv_v=0.4, degrees=0.0, translate=0.1, scale=0.5,
    shear=0.0, perspective=0.0, flipud=0.5, fliplr=0.5, mosaic=1.0, mixup=0.0,
    copy_paste=0.0, warmup_epochs=3.0, warmup_momentum=0.8,
    warmup_bias_lr=0.1,
)  # fmt: skip


def write_yolo_folder(config: Config, folder: Path) -> Tuple[Path, int]:
    """Write the training images and boxes as the official code reads them.

    Returns:
        tuple[Path, int]: The list of images and the number of classes.
    """
    data = dict(config.train_dataloader.dataset, pipeline=[])
    dataset = DATASETS.build(data)
    dataset.full_init()
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    (folder / 'labels').mkdir(exist_ok=True)
    images = []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        source = Path(info['img_path']).resolve()
        link = folder / 'images' / source.name
        if link.is_symlink() and link.resolve() != source:
            link.unlink()  # the data have moved since
        if not link.exists():
            link.symlink_to(source)
        size = np.array([info['width'], info['height']] * 2)
        rows = []
        for instance in info['instances']:
            x1, y1, x2, y2 = np.array(instance['bbox']) / size
            box = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
            numbers = ' '.join(f'{value:.6f}' for value in box)
            rows.append(f'{instance["bbox_label"]} {numbers}\n')
        (folder / 'labels' / f'{source.stem}.txt').write_text(''.join(rows))
        images.append(f'{link.absolute()}\n')
    names = folder / 'train.txt'
    names.write_text(''.join(images))
    return names, len(dataset.metainfo['classes'])


def schedule(config: Config) -> Dict[str, Any]:
    """Read epochs, batch and learning rates out of our config.

    Raises:
        InputError: If its optimizer has no betas, which the official warm-up
            raises.
    """
    optimizer = config.optim_wrapper.optimizer
    if 'betas' not in optimizer:
        raise InputError(
            f'optim_wrapper.optimizer.type={optimizer.type} has no betas: '
            'compare a config with AdamW or MuonAdamW'
        )
    return dict(
        epochs=config.train_cfg.max_epochs,
        close_mosaic=sum(
            count_last_epochs(
                hook.num_last_epochs, config.train_cfg.max_epochs
            )
            for hook in config.custom_hooks
            if hook.type == 'CloseMosaicHook'
        ),
        batch_size=config.train_dataloader.batch_size,
        size=config.img_scale[0],
        lr=optimizer.lr,
        final=config.param_scheduler[-1].end_factor,
        beta1=optimizer.betas[0],
        optimizer=optimizer.type,
    )


class OfficialTraining:
    """The official code's training on the plan of one of our configs.

    Args:
        config (Config): Ours.
        folder (Path): Where its copy of the labels goes.
        fast (bool): Channels-last and, where the processor has the units,
            bfloat16 autocast; the official script has neither on a CPU.
        budget (MinutesBudget, optional): Minutes that it may take. The
            learning rate and the end of the mosaics then follow the share
            that is spent. Defaults to None, no limit.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        fast: bool,
        budget: Optional[MinutesBudget] = None,
    ) -> None:
        root = import_official()
        from models.yolo import Model
        from utils.dataloaders import create_dataloader
        from utils.loss_tal_dual import ComputeLoss
        from utils.torch_utils import ModelEMA

        init_default_scope(config.default_scope)
        self.plan = plan = schedule(config)
        names, num_classes = write_yolo_folder(config, folder)
        self.loader, self.dataset = create_dataloader(
            str(names), plan['size'], plan['batch_size'], 32, hyp=dict(HYP),
            augment=True, cache='ram', close_mosaic=True, shuffle=True,
            workers=config.train_dataloader.num_workers,
        )  # fmt: skip
        graph = f'yolov9-{config.model.backbone.arch}.yaml'
        self.model = Model(
            str(root / 'models' / 'detect' / graph), ch=3, nc=num_classes
        )
        self.model.nc, self.model.hyp = num_classes, dict(HYP)
        self.optimizer = build_optim_wrapper(
            self.model, config.optim_wrapper
        ).optimizer
        self.ema = ModelEMA(self.model)
        self.compute_loss = ComputeLoss(self.model)
        self.order = torch.channels_last if fast else torch.contiguous_format
        self.model.to(memory_format=self.order)
        self.bf16 = fast and faster_in_bf16('cpu')
        warmup = round(HYP['warmup_epochs'] * len(self.loader))
        self.warmup = max(warmup, 100)
        self.budget = budget or MinutesBudget()
        self.steps = 0

    def place(self, epoch: int) -> float:
        """Epoch of the plan: that of the training, or further with a budget.

        The share of a budget that is spent is that of the plan's epochs.
        """
        return max(epoch, self.budget.share * self.plan['epochs'])

    def set_rates(self, epoch: int, step: int) -> None:
        """Set learning rate and momentum as the official script does."""
        plan, low = self.plan, HYP['warmup_momentum']
        fall = (1 - self.place(epoch) / plan['epochs']) * (1 - plan['final'])
        done = min(step / self.warmup, 1)
        beta = low + (plan['beta1'] - low) * done
        for group in self.optimizer.param_groups:
            start = HYP['warmup_bias_lr'] * (1 - done) * group['is_bias']
            group['lr'] = start + plan['lr'] * (fall + plan['final']) * done
            group['betas'] = (beta, 0.999)

    def run_epoch(self, epoch: int, on_step: Callable = lambda: None) -> float:
        """Train for one epoch, or until the budget is spent.

        Args:
            epoch (int): Its number, from 0.
            on_step (callable): Called after each step.

        Returns:
            float: The mean loss.
        """
        self.model.train()
        last = self.plan['epochs'] - self.plan['close_mosaic']
        self.dataset.mosaic = self.place(epoch) < last
        total, done = 0.0, 0
        self.budget.start()
        for i, (images, targets, _, _) in enumerate(self.loader):
            self.set_rates(epoch, i + len(self.loader) * epoch)
            images = (images.float() / 255).to(memory_format=self.order)
            with torch.autocast('cpu', torch.bfloat16, enabled=self.bf16):
                loss, _ = self.compute_loss(self.model(images), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=10.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.ema.update(self.model)
            total += loss.item()
            done += 1
            self.budget.count_step()
            on_step()
            if self.budget.is_spent:
                break
        self.steps += done
        return total / done
