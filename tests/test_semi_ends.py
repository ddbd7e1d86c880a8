"""Both ends of a semi-supervised run: how it is started and what is left.

The truth of the pictures is what a random detector detects in them, so that
this detector scores 1; its double with negated class scores does not.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import mmdet
import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from tiny_detector import CLASSES, write_detector, write_pictures
from tiny_run import call_script
from tiny_semi import CONFIGS, semi_config, train

TOOLS = CONFIGS.parent / 'tools'
MMDET_TEST = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'test.py'
NAMES = [f'{i}.png' for i in range(4)]


class Scene(NamedTuple):
    """Pictures with their truth, and weights of two detectors."""

    loader: dict
    good: dict
    bad: dict
    test_cfg: dict


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp('scene')
    plain = write_detector(folder / 'plain')
    images = write_pictures(folder / 'images', NAMES)
    inferencer = DetInferencer(*plain, show_progress=False)
    paths = [str(images / name) for name in NAMES]
    found = inferencer(paths, no_save_vis=True)['predictions']
    annotations = []
    for image_id, boxes in enumerate(found):
        for (x1, y1, x2, y2), label in zip(boxes['bboxes'], boxes['labels']):
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=image_id,
                    category_id=label,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                )
            )
    content = dict(
        images=[
            dict(id=i, file_name=name, width=50, height=30)
            for i, name in enumerate(NAMES)
        ],
        categories=[dict(id=i, name=x) for i, x in enumerate(CLASSES)],
        annotations=annotations,
    )
    (folder / 'truth.json').write_text(json.dumps(content))
    config = Config.fromfile(plain.config)
    loader = dict(
        config.test_dataloader,
        dataset=dict(
            type='mmdet.CocoDataset',
            ann_file=str(folder / 'truth.json'),
            data_prefix=dict(img=f'{images}/'),
            metainfo=dict(classes=CLASSES),
            test_mode=True,
            pipeline=config.test_dataloader.dataset.pipeline,
        ),
    )
    good = torch.load(plain.checkpoint, weights_only=True)['state_dict']
    ends = '.2.weight', '.2.bias'
    last = [key for key in good if 'cls_preds' in key and key.endswith(ends)]
    assert len(last) == 2 * 3  # weights and biases of three levels
    bad = {key: -x if key in last else x for key, x in good.items()}
    return Scene(loader, good, bad, config.model.test_cfg)


def tiny_config(folder, scene, max_epochs=1):
    """One step of phase 2 an epoch, validated on the pictures."""
    config = semi_config(folder, burn_in=0, max_epochs=max_epochs)
    config.pop('labeled_loader')
    config.train_cfg.unlabeled_dataloader.batch_size = 8
    config.model.detector.test_cfg = scene.test_cfg
    config.val_dataloader = config.test_dataloader = scene.loader
    config.test_evaluator = config.val_evaluator
    config.test_cfg = dict()
    return config


def measure(folder, config, checkpoint, *options):
    """Test by the script that comes with mmdet.

    Returns:
        dict[str, float]: The figures that it wrote.
    """
    done = call_script(
        MMDET_TEST, config, checkpoint, '--work-dir', folder, *options
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob('*/*.json')
    figures = json.loads(path.read_text())
    return {k: v for k, v in figures.items() if k.startswith('defect')}


def test_stock_test_script__teacher_before_and_after_the_export(
    scene, tmp_path
):
    config, checkpoint = tmp_path / 'semi.py', tmp_path / 'semi.pth'
    semi = tiny_config(tmp_path, scene)
    semi.dump(str(config))
    parts = dict(teacher=scene.good, student=scene.bad)
    torch.save(
        dict(
            state_dict={
                f'{part}.{key}': value
                for part, state in parts.items()
                for key, value in state.items()
            },
            meta=dict(
                cfg=semi.pretty_text, dataset_meta=dict(classes=CLASSES)
            ),
        ),
        checkpoint,
    )
    teacher = measure(tmp_path / 'teacher', config, checkpoint)
    assert teacher['defect/mAP'] == teacher['defect/mAP_50'] == 1
    student = measure(
        tmp_path / 'student', config, checkpoint,
        '--cfg-options', 'model.semi_test_cfg.predict_on=student',
    )  # fmt: skip
    assert student['defect/mAP_50'] < 0.5

    done = call_script(
        TOOLS / 'export_detector.py', checkpoint, tmp_path / 'plain'
    )
    assert done.returncode == 0, done.stderr
    files = (tmp_path / 'plain' / f'detector.{x}' for x in ('py', 'pth'))
    exported = measure(tmp_path / 'exported', *files)
    assert exported == pytest.approx(teacher, rel=0, abs=0, nan_ok=True)


class Exchange(Hook):
    """The good detector is the teacher of epoch 1, the student of epoch 2."""

    def __init__(self, scene):
        self.scene = scene

    def after_train_epoch(self, runner):
        teacher, student = self.scene.good, self.scene.bad
        if runner.epoch:
            teacher, student = student, teacher
        runner.model.teacher.load_state_dict(teacher)
        runner.model.student.load_state_dict(student)


def test_best_checkpoint__of_a_shipped_config_is_the_teachers(scene, tmp_path):
    shipped = Config.fromfile(
        CONFIGS / 'dsym' / 'dsym_yolov9-t_1xb32-60e_steel-synth-semi.py'
    )
    # from the end of the first epoch that the teacher averages
    assert shipped.train_cfg.val_begin == shipped.train_cfg.burn_in_epochs + 1
    config = tiny_config(tmp_path, scene, max_epochs=2)
    config.default_hooks.checkpoint = shipped.default_hooks.checkpoint
    config.train_cfg.val_interval = shipped.train_cfg.val_interval
    config.val_cfg = shipped.val_cfg
    config.val_evaluator = shipped.val_evaluator
    runner, _ = train(config, hooks=[Exchange(scene)])

    scalars = runner.message_hub.log_scalars
    teacher, student = (
        scalars[f'val/{part}/defect/mAP_50'].data[0].tolist()
        for part in ('teacher', 'student')
    )
    assert teacher[0] == student[1] == 1
    assert teacher[1] == student[0] < 0.5
    (best,) = Path(runner.work_dir).glob('best_*')
    assert best.name == 'best_teacher_defect_mAP_50_epoch_1.pth'
    state = torch.load(best, weights_only=True)['state_dict']
    for key, value in scene.good.items():
        assert torch.equal(state[f'teacher.{key}'], value), key


def test_amp__is_bfloat16_on_a_cpu(scene, tmp_path):
    if get_device() != 'cpu':
        pytest.skip("with a GPU, --amp is mmengine's own")
    config = tiny_config(tmp_path, scene)
    config.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    config.dump(str(tmp_path / 'semi.py'))
    done = call_script(TOOLS / 'train.py', tmp_path / 'semi.py', '--amp')
    assert done.returncode == 0, done.stderr
    used = Config.fromfile(tmp_path / 'work_dir' / 'semi.py').optim_wrapper
    assert used.type == 'BF16OptimWrapper' and used.enabled is True
    assert used.optimizer.type == 'SGD'
    (log,) = tmp_path.glob('work_dir/*/vis_data/scalars.json')
    step = json.loads(log.read_text().splitlines()[0])
    for key in ('sup_loss_cls', 'unsup_loss_cls', 'loss'):
        assert math.isfinite(step[key]) and step[key] > 0
    assert (tmp_path / 'work_dir' / 'epoch_1.pth').is_file()
