"""A semi-supervised step and its parts, as contenders."""

import copy
from dataclasses import dataclass, field
from typing import Any, Dict

import torch
from mmengine.logging import MMLogger
from mmengine.registry import TASK_UTILS
from mmengine.runner import Runner

from dsym.engine.clip_filter_hook import total
from dsym.engine.mean_teacher_loop import join
from dsym.engine.moving_teacher import MovingTeacher

from .alternation import Gate
from .clip import attach_filter
from .detectors import load_config

# Images that each takes, of a batch of 16 labelled and 16 unlabelled ones.
PARTS = {
    'semi': 32,
    'supervised': 16,
    'teacher': 16,
    'student': 16,
    'supervised, all images': 32,
}


@dataclass
class SemiStep:
    """Steps of one batch, over and over: no loader, no hooks.

    Attributes:
        config (str): Of a ``DSYMDetector`` and a ``MeanTeacherLoop``.
        part (str): 'semi', all of it; 'supervised', a training step on the
            labelled images; 'teacher', its prediction; 'student', a training
            step on the unlabelled ones with its labels; or 'supervised, all
            images', a training step on as many labelled images as there are
            images in both.
        options (dict): Overrides of the config.
        clip (bool): With ``CLIPFilterHook``'s filter, its cache warm.
    """

    config: str
    part: str
    options: Dict[str, Any] = field(default_factory=dict)
    clip: bool = False

    def __call__(self, gate: Gate) -> None:
        """Compute until the gate says stop."""
        torch.manual_seed(0)
        config = load_config(self.config, self.options)
        config.custom_hooks = [
            hook
            for hook in config.custom_hooks
            if hook['type'] in ('CPUThreadsHook', 'ChannelsLastHook')
        ]
        runner = Runner.from_cfg(config)
        loop = runner.build_train_loop(runner._train_loop)
        runner._train_loop = loop
        wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.call_hook('before_run')
        runner._init_model_weights()
        MMLogger.get_current_instance().setLevel('ERROR')
        model = runner.model.train()
        # past the ramp; an untrained teacher's scores are near 0, and all of
        # its boxes become labels with weights
        model.unsup_steps += 10**6
        model.pseudo_cfg.update(score_thr=0.0, max_per_img=4)
        model.selector = TASK_UTILS.build(dict(type='TwoThresholds', low=0.0))
        judge = attach_filter(runner, model) if self.clip else None
        sources = [next(iter(loader)) for loader in loop.labeled]
        batch = join([*sources, next(iter(loop.unlabeled))])
        move = MovingTeacher(model.teacher, model.student)
        data = model.data_preprocessor(copy.deepcopy(batch), training=True)
        inputs, samples = data['inputs'], data['data_samples']
        views = inputs['unsup_teacher'], samples['unsup_teacher']
        outs, labels, doubtful = model.pseudo_label(*views)
        assert sum(map(len, labels)), 'no box becomes a label'
        if judge is not None:
            assert total(judge.take_counts(), 'scored'), 'CLIP scores no box'
        if self.part == 'semi':
            while True:
                model.train_step(copy.deepcopy(batch), wrapper)
                move(0.999)
                gate()
        if self.part == 'supervised, all images':
            count = len(inputs['sup']) + len(inputs['unsup_student'])
            repeat = -(-count // len(inputs['sup']))
            inputs['sup'] = inputs['sup'].repeat(repeat, 1, 1, 1)[:count]
            samples['sup'] = (samples['sup'] * repeat)[:count]
        student = samples['unsup_student']
        labels = model.project(labels, student)
        for sample, boxes in zip(student, model.project(doubtful, student)):
            sample.ignored_instances = boxes
        while True:
            if self.part == 'teacher':
                model.pseudo_label(*views)
                gate()
                continue
            with wrapper.optim_context(model):
                if self.part == 'student':
                    losses = model.loss_of_student(
                        inputs['unsup_student'], samples, labels, outs
                    )
                else:
                    losses = model.loss_by_gt_instances(
                        inputs['sup'], samples['sup']
                    )
            wrapper.update_params(model.parse_losses(losses)[0])
            gate()
