r"""Train the official YOLOv9 code on the data of one of our configs.

The yardstick of the supervised reference: model, loss, augmentation, warm-up
and average of the weights are the official code's (PyPI ``yolo9``); images,
boxes, size, batch, epochs, optimizer and learning rate are our config's.
Unlike the official script it takes an optimizer step a batch (that one
accumulates gradients to 64 images) and can autocast to bfloat16 on a CPU.

    python tools/train_official_yolov9.py CONFIG --work-dir DIR
    python tools/model_converters/yolov9_to_dsym.py DIR/official.pt \
        DIR/ours.pth
    python tools/test.py CONFIG DIR/ours.pth --work-dir DIR/test

A second call goes on from the last saved epoch. With --minutes the training
ends with the step in which they are spent, its learning rate fallen to the
end by then.
"""

import argparse
import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, DictAction
from peers.official_training import OfficialTraining
from toolbox_script import stop

from dsym.engine.minutes_budget import MinutesBudget
from dsym.errors import InputError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config', help='config of ours to compare with')
    parser.add_argument('--work-dir', type=Path, required=True)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--save-every', type=int, default=5, metavar='EPOCHS')
    parser.add_argument(
        '--minutes',
        type=float,
        default=math.inf,
        help='of training steps, loader included; default: to the last epoch',
    )
    parser.add_argument(
        '--fp32',
        action='store_true',
        help='as the official script: no autocast',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}
    )
    return parser.parse_args()


def train(args: argparse.Namespace) -> None:
    """Train to the last epoch and save the average of the weights."""
    config = Config.fromfile(args.config)
    config.merge_from_dict(args.cfg_options)
    for seeder in (random.seed, np.random.seed, torch.manual_seed):
        seeder(args.seed)
    budget = MinutesBudget(args.minutes)
    run = OfficialTraining(
        config, args.work_dir / 'data', not args.fp32, budget
    )
    # The official code gives it the same seed in every run. It shuffles, and
    # draws the seeds of the workers, which augment.
    order = run.loader.generator.manual_seed(args.seed)
    parts = dict(model=run.model, ema=run.ema.ema, optimizer=run.optimizer)
    saved = args.work_dir / 'resume.pt'
    start = 0
    if saved.exists():
        state = torch.load(saved)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        start, budget.spent = state['epoch'], state['minutes']
        if 'order' in state:  # or the first epochs' batches come again
            order.set_state(state['order'])
        # without 'steps': of whole epochs
        run.steps = state.get('steps', start * len(run.loader))
        run.ema.updates = run.steps
    epochs = run.plan['epochs']
    for epoch in range(start, epochs):
        if budget.is_spent:
            break
        loss = run.run_epoch(epoch)
        if not math.isfinite(loss):
            sys.exit(f'epoch {epoch + 1}: the loss is {loss}')
        done = run.place(epoch + 1)
        left = budget.spent / done * (epochs - done)
        print(
            f'epoch {epoch + 1}/{epochs}  loss {loss:.2f}  '
            f'{budget.spent:.1f} min, {left:.1f} min left',
            flush=True,
        )
        ends = epoch + 1 == epochs or budget.is_spent
        if (epoch + 1) % args.save_every == 0 or ends:
            state = {name: part.state_dict() for name, part in parts.items()}
            state.update(
                epoch=epoch + 1,
                minutes=budget.spent,
                steps=run.steps,
                order=order.get_state(),
            )
            torch.save(state, saved.with_suffix('.tmp'))
            saved.with_suffix('.tmp').rename(saved)
    torch.save(run.ema.ema.state_dict(), args.work_dir / 'official.pt')
    result = dict(
        run.plan,
        seed=args.seed,
        steps=run.steps,
        minutes=budget.spent,
        bf16=run.bf16,
    )
    if args.minutes < math.inf:
        result['budget'] = dict(
            minutes=args.minutes, planned_steps=epochs * len(run.loader)
        )
    (args.work_dir / 'official.json').write_text(json.dumps(result, indent=2))
    print(args.work_dir / 'official.pt')


if __name__ == '__main__':
    try:
        train(parse_args())
    except InputError as error:
        stop(str(error))
