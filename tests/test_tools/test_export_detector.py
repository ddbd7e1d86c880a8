"""export_detector.py: the teacher as a plain detector, and its one-liners."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from PIL import Image
from tiny_detector import write_pictures
from tiny_run import call_script, write_config

from dsym.datasets import CLASSES as NEU_CLASSES
from dsym.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'export_detector.py'
# What EMAHook calls the entries of its copy.
EMA_PREFIX = 'module.'


@pytest.fixture(scope='module')
def tool():
    """The tool's functions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOL.parent))
        yield runpy.run_path(str(TOOL))


def semi_config(folder):
    """Teacher and student around the small detector of tiny_run.

    The two preprocessors disagree: the detector's own divides by 255, the
    semi-supervised model's, which counts, by 200.
    """
    config = Config.fromfile(write_config(folder, ROOT / 'configs'))
    config.model.test_cfg.score_thr = 0.0
    config.model = dict(
        type='mmdet.SemiBaseDetector',
        detector=config.model,
        data_preprocessor=dict(
            type='mmdet.MultiBranchDataPreprocessor',
            data_preprocessor=dict(
                type='mmdet.DetDataPreprocessor',
                mean=[0.0, 0.0, 0.0],
                std=[200.0, 200.0, 200.0],
                bgr_to_rgb=True,
                pad_size_divisor=32,
            ),
        ),
        semi_train_cfg=dict(),
        semi_test_cfg=dict(predict_on='teacher'),
    )
    config.custom_hooks = [
        dict(type='CPUThreadsHook'),
        dict(type='mmdet.MeanTeacherHook'),
    ]
    return config


@pytest.fixture(scope='module')
def semi(tmp_path_factory):
    """A semi-supervised model with its config and checkpoint."""
    folder = tmp_path_factory.mktemp('semi')
    config = semi_config(folder)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(config.model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.weight.data.uniform_(0.5, 2)
    state = model.state_dict()
    path = folder / 'epoch_3.pth'
    momentum = {i: dict(momentum_buffer=v) for i, v in enumerate(state)}
    torch.save(
        dict(
            state_dict=state,
            optimizer=dict(state=momentum, spare=torch.zeros(5_000_000)),
            meta=dict(
                cfg=config.pretty_text,
                epoch=3,
                dataset_meta=dict(classes=tuple('abcdef')),
            ),
        ),
        path,
    )
    return model.eval(), config, path


@pytest.fixture(scope='module')
def exported(tool, semi, tmp_path_factory):
    folder = tmp_path_factory.mktemp('exported') / 'new'
    config, weights = tool['export'](str(semi[2]), folder, None, 'teacher')
    assert (config.name, weights.name) == ('detector.py', 'detector.pth')
    return config, weights


def test_weights__are_the_teachers_alone(semi, exported):
    model, _, checkpoint = semi
    content = torch.load(exported[1], weights_only=True)
    assert set(content) == {'state_dict', 'meta'}
    assert content['meta'] == dict(
        dataset_meta=dict(classes=('a', 'b', 'c', 'd', 'e', 'f'))
    )
    expected = model.teacher.state_dict()
    assert content['state_dict'].keys() == expected.keys()
    for key, value in content['state_dict'].items():
        assert torch.equal(value, expected[key])
    size = sum(v.numel() * v.element_size() for v in expected.values())
    assert size < exported[1].stat().st_size < 1.1 * size + 300_000
    assert checkpoint.stat().st_size > 2 * size


def test_config__tests_and_does_not_train(semi, exported):
    config = Config.fromfile(exported[0])
    assert config.model.type == 'mmyolo.YOLODetector'
    preprocessor = config.model.data_preprocessor
    assert preprocessor.type == 'mmyolo.YOLOv5DetDataPreprocessor'
    assert preprocessor.std == [200, 200, 200]
    assert preprocessor.pad_size_divisor == 32
    assert config.custom_imports.imports == ['dsym']
    assert config.default_scope == 'mmyolo'
    assert config.custom_hooks == [dict(type='CPUThreadsHook')]
    assert 'checkpoint' not in config.default_hooks
    for key in ('test_dataloader', 'test_evaluator'):
        assert config[key] == semi[1][key]
    assert not [key for key in config if 'train' in key or 'optim' in key]


def test_inferencer__detects_what_the_teacher_does(semi, exported, tmp_path):
    model, config, _ = semi
    image = str(tmp_path / 'x.png')
    pixels = np.random.default_rng(0).integers(0, 255, (120, 200, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(image)
    pipeline = Compose(config.test_dataloader.dataset.pipeline)
    with DefaultScope.overwrite_default_scope('mmyolo'), torch.no_grad():
        batch = pseudo_collate([pipeline(dict(img_path=image, img_id=0))])
        expected = model.test_step(batch)[0].pred_instances

    inferencer = DetInferencer(
        model=str(exported[0]), weights=str(exported[1]), show_progress=False
    )
    (result,) = inferencer(image, no_save_vis=True, return_datasamples=True)[
        'predictions'
    ]
    found = result.pred_instances
    assert len(found) > 10
    assert torch.equal(found.bboxes, expected.bboxes)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.labels, expected.labels)
    assert inferencer.model.dataset_meta['classes'] == tuple('abcdef')


def test_runner__tests_it(exported, tmp_path):
    config = Config.fromfile(exported[0])
    config.work_dir, config.load_from = str(tmp_path), str(exported[1])
    figures = Runner.from_cfg(config).test()
    assert 0 <= figures['defect/mAP_50'] <= 1


def test_pseudo_label__takes_the_runs_labelled_images(
    semi, exported, tmp_path
):
    config, weights = exported
    content = torch.load(weights, weights_only=True)
    content['meta']['dataset_meta']['classes'] = NEU_CLASSES
    torch.save(content, tmp_path / 'detector.pth')
    semi[1].dump(str(tmp_path / 'run.py'))
    folder = write_pictures(tmp_path / 'in', ['a.png'])
    call = (
        TOOL.with_name('pseudo_label.py'), config, tmp_path / 'detector.pth',
        folder, '--out-dir', tmp_path / 'out',
        '--selector', 'type=ClassThresholds',
    )  # fmt: skip
    line = fails(*call[1:], tool=call[0])
    assert f'{config} has no train_dataloader' in line and '--labeled' in line
    done = call_script(*call, '--labeled', tmp_path / 'run.py')
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / 'out/summary.json').read_text())
    assert summary['images']['total'] == 1


def test_student__is_another(tool, semi, tmp_path):
    model, _, path = semi
    _, weights = tool['export'](str(path), tmp_path, None, 'student')
    state = torch.load(weights, weights_only=True)['state_dict']
    key = 'backbone.stem.conv.weight'
    assert torch.equal(state[key], model.student.state_dict()[key])
    assert not torch.equal(state[key], model.teacher.state_dict()[key])


def test_ema_hook__teacher_itself_and_average_of_the_student(tool):
    checkpoint = dict(
        state_dict={'teacher.w': torch.ones(1), 'student.w': torch.ones(1)},
        ema_state_dict={
            'steps': torch.tensor(9),
            f'{EMA_PREFIX}teacher.w': torch.zeros(1),
            f'{EMA_PREFIX}student.w': torch.zeros(1),
        },
    )
    for which, value in (('teacher', 0), ('student', 1)):
        state = tool['extract_weights'](checkpoint, which, 'x.pth')
        assert state == {'w': torch.tensor([value])}


def test_inner_preprocessor__is_the_outer_one_if_missing(tool, semi):
    config = semi[1].copy()
    config.model = dict(config.model, detector=dict(type='X'))
    model = tool['detector_config'](config).model
    assert model.data_preprocessor.type == 'mmdet.DetDataPreprocessor'


def test_shared_storage__is_not_written(tool):
    flat = torch.zeros(1000)
    state = {'teacher.w': flat[:10], 'student.w': flat[10:]}
    weights = tool['extract_weights'](dict(state_dict=state), 'teacher', '')
    assert weights['w'].untyped_storage().nbytes() == 10 * 4


def test_config_text__is_read_as_mmengine_wrote_it(tool):
    values = dict(
        a=[1, -2.5, (3,), (), dict(x=None)],
        b={'not an identifier': float('inf'), 'y': dict(z="it's")},
        c=dict(d=True, e=[{'1-2': 3}]),
    )
    text = Config(values).pretty_text
    assert tool['parse_config'](text).to_dict() == values


@pytest.mark.parametrize(
    'text',
    [
        "import os\na = os.system('true')",
        "a = open('x')",
        'a = dict(b=__import__)',
        'a = [x for x in (1, 2)]',
        'a = dict(**{})',
        'a, b = 1, 2',
        'a =',
    ],
)
def test_config_text__with_code_is_refused(tool, text):
    with pytest.raises(InputError, match=r'was not run: .*--config'):
        tool['parse_config'](text)


def fails(*args, tool=TOOL):
    """Call the tool in vain; give its one line."""
    done = call_script(tool, *args)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    return line


def test_errors__are_one_line(semi, tmp_path):
    _, config, path = semi
    out = tmp_path / 'out'

    def saved(**content):
        torch.save(content, tmp_path / 'x.pth')
        return tmp_path / 'x.pth'

    part = {'teacher.w': torch.ones(1)}
    assert 'is a plain detector already' in fails(
        saved(state_dict={'w': torch.ones(1)}, ema_state_dict={}), out
    )
    assert 'use --which teacher' in fails(
        saved(state_dict=part), out, '--which', 'student'
    )
    assert 'holds no config' in fails(saved(state_dict=part), out)
    assert 'no.py' in fails(path, out, '--config', tmp_path / 'no.py')
    assert 'no.pth' in fails(tmp_path / 'no.pth', out)

    plain = tmp_path / 'plain.py'
    plain.write_text("model = dict(type='YOLODetector')\n")
    assert 'no model.detector' in fails(path, out, '--config', plain)

    other = config.copy()
    other.model.detector.bbox_head.head_module.num_classes = 5
    other.dump(str(tmp_path / 'other.py'))
    line = fails(path, out, '--config', tmp_path / 'other.py')
    assert 'entries do not fit model.detector, as bbox_head' in line

    other.pop('test_dataloader')
    other.dump(str(tmp_path / 'other.py'))
    line = fails(path, out, '--config', tmp_path / 'other.py')
    assert 'no test_dataloader' in line
    assert not out.exists()
