"""A mean teacher on SteelSynth at 64 px: runs of seconds, in this process."""

from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
SIZE = (64, 64)


def resized(steps):
    """The steps of a pipeline, at 64 px."""
    steps = [dict(step) for step in steps]
    for step in steps:
        if 'scale' in step:
            step['scale'] = SIZE
        if step['type'].endswith('MultiBranch'):
            for branch in ('unsup_teacher', 'unsup_student'):
                if branch in step:
                    step[branch] = resized(step[branch])
    return steps


def semi_config(folder, burn_in=1, max_epochs=3, **train_cfg):
    """Three steps of phase 1 an epoch, four of phase 2.

    Args:
        folder (Path): For results; the data lie beside it.
        burn_in (int): Epochs of phase 1.
        max_epochs (int): Epochs of both.
        **train_cfg: More of ``MeanTeacherLoop``.

    Returns:
        Config: With 6 labelled, 8 unlabelled and 4 validation images.
    """
    base = Config.fromfile(CONFIGS / '_base_/datasets/semi_224.py')
    model = Config.fromfile(CONFIGS / '_base_/models/yolov9_t.py').model
    # without the auxiliary branch, which costs time
    model.backbone.with_aux = model.neck.with_aux = False
    model.bbox_head.aux_head_module = None
    runtime = Config.fromfile(CONFIGS / '_base_/default_runtime.py')

    def loader(num_images, seed, pipeline, batch_size=2, **dataset):
        return dict(
            batch_size=batch_size,
            num_workers=0,
            sampler=dict(type='SeededSampler'),
            collate_fn=dict(type='pseudo_collate'),
            dataset=dict(
                type='SteelSynthDataset',
                data_root=str(folder.parent / 'steel_synth'),
                num_images=num_images,
                num_workers=1,
                seed=seed,
                pipeline=pipeline,
                **dataset,
            ),
        )

    name = f'{folder.name}_{burn_in}_{max_epochs}'
    labeled = resized(base.labeled_pipeline_stage2)
    val = loader(4, 2, resized(base.test_pipeline), test_mode=True)
    val['sampler'] = dict(type='DefaultSampler', shuffle=False)
    return Config(
        {
            **runtime,
            'work_dir': str(folder / 'work_dir'),
            'experiment_name': name,
            'model': dict(
                type='DSYMDetector',
                detector=model,
                semi_train_cfg=dict(
                    # an untrained teacher scores all boxes near 0
                    pseudo_test_cfg=dict(score_thr=0.0, max_per_img=4),
                    selector=dict(type='ScoreThreshold', score_thr=0.0),
                    consistency=dict(type='ConsistencyLoss'),
                ),
            ),
            'train_dataloader': loader(6, 0, labeled),
            'train_cfg': dict(
                type='MeanTeacherLoop',
                unlabeled_dataloader=loader(
                    8, 1, resized(base.unlabeled_pipeline)
                ),
                burn_in_epochs=burn_in,
                max_epochs=max_epochs,
                val_interval=100,
                **train_cfg,
            ),
            'optim_wrapper': dict(optimizer=dict(type='SGD', lr=0.001)),
            'param_scheduler': dict(
                type='LinearLR',
                start_factor=1.0,
                end_factor=0.1,
                by_epoch=False,
            ),
            'default_hooks': dict(
                timer=dict(type='PhaseTimerHook'),
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(type='CheckpointHook', interval=1),
            ),
            'val_dataloader': val,
            'val_evaluator': dict(type='DefectMetric'),
            'val_cfg': dict(type='mmdet.TeacherStudentValLoop'),
            'visualizer': dict(type='mmdet.DetLocalVisualizer', name=name),
            'labeled_loader': loader,
        }
    )


class Record(Hook):
    """What every step was: phase, losses, images."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.steps = []

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        samples = data_batch['data_samples']
        self.steps.append(
            dict(
                epoch=runner.epoch,
                idx=batch_idx,
                outputs={k: float(v) for k, v in outputs.items()},
                images={
                    branch: [Path(x.img_path).name for x in parts]
                    for branch, parts in samples.items()
                },
                lr=runner.optim_wrapper.get_lr()['lr'][0],
                size=len(runner.train_dataloader),
                eta=runner.message_hub.get_info('eta'),
                time=runner.message_hub.get_scalar('train/time').current(),
            )
        )


def train(config, hooks=(), **changes):
    """Train.

    Args:
        config (Config): Of :func:`semi_config`.
        hooks (Sequence[Hook]): More hooks.
        **changes: Of it.

    Returns:
        tuple[Runner, list[dict]]: The runner and its steps.
    """
    record = Record()
    config = config.copy()
    config.pop('labeled_loader', None)
    config.update(changes)
    runner = Runner.from_cfg(config)
    for hook in (record, *hooks):
        runner.register_hook(hook)
    runner.train()
    return runner, record.steps
