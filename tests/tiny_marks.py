"""A training that notes a mark of each of its images."""

from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn


class Seen(Hook):
    """Notes the marks of every step by epoch."""

    def __init__(self):
        self.marks = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.marks.append((runner.epoch, data_batch['inputs'].item()))


class OneWeight(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.layer(inputs.float().view(-1, 1)).sum())


def marks_of(folder, dataset, hook, max_epochs, workers=0, shuffle=False):
    """Train with a hook.

    Args:
        folder (Path): For the run.
        dataset (dict): Whose samples are ``dict(inputs=mark)``.
        hook (dict): One of ours.
        max_epochs (int): Number of epochs.
        workers (int): Of the loader, persistent. Defaults to 0.
        shuffle (bool): Defaults to False.

    Returns:
        list[tuple]: Epoch and mark of each step.
    """
    seen = Seen()
    runner = Runner(
        model=OneWeight(),
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=1,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
            dataset=dataset,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(checkpoint=None, logger=None),
        custom_hooks=[hook, seen],
        experiment_name=f'{folder.name}{max_epochs}{workers}{hook}',
    )
    runner.train()
    return seen.marks
