from pathlib import Path

import cv2
import numpy as np
import publish_weights
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from dsym import weights
from dsym.clip import load_scorer
from dsym.datasets import CLASSES
from dsym.datasets.steel_render import render_steel_image
from dsym.errors import InputError, MissingFileError
from dsym.evaluation.detection_curves import box_iou
from dsym.inference.model import resolve_model
from dsym.inference.predictor import build_predictor


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, 'FOLDER', tmp_path)
    torch.save(
        dict(state_dict=dict(x=torch.arange(3.0))), tmp_path / 'small-t.pth'
    )
    (tmp_path / 'clip-t').mkdir()
    (tmp_path / 'README.md').write_text('card')
    return tmp_path


def test_names__files_and_folders_but_not_the_card(folder):
    assert weights.embedded_names() == ['clip-t', 'small-t']


def test_resolve__other_paths_stay(folder):
    assert weights.resolve_weights('dsym://small-t') == str(
        folder / 'small-t.pth'
    )
    assert weights.resolve_weights('dsym://clip-t') == str(folder / 'clip-t')
    assert weights.resolve_weights('work_dirs/x.pth') == 'work_dirs/x.pth'


def test_unknown_name__near_ones_are_named(folder):
    with pytest.raises(MissingFileError, match='dsym://small-t'):
        weights.resolve_weights('dsym://smal-t')


def test_load_from__mmengine_knows_the_prefix(folder):
    loaded = CheckpointLoader.load_checkpoint('dsym://small-t', 'cpu')
    assert loaded['state_dict']['x'].tolist() == [0, 1, 2]


def test_publish__half_and_nothing_of_the_training():
    checkpoint = dict(
        state_dict=dict(w=torch.tensor([1.0, 2.5]), n=torch.tensor(7)),
        optimizer=dict(state=1),
        message_hub={},
        meta=dict(dataset_meta=dict(classes=('a',)), seed=3, epoch=9),
    )
    small = publish_weights.publish(checkpoint, 'of a test')
    assert {*small} == {'state_dict', 'meta'}
    assert small['state_dict']['w'].dtype == torch.float16
    np.testing.assert_array_equal(small['state_dict']['w'], [1, 2.5])
    assert small['state_dict']['n'].dtype == torch.int64
    meta = small['meta']
    assert (meta['seed'], meta['epoch'], meta['note']) == (3, 9, 'of a test')
    assert meta['dataset_meta'] == dict(classes=('a',))


def test_published__config_of_model_and_pipeline_without_paths():
    config = Config(
        dict(
            default_scope='mmyolo',
            data_root='/somewhere',
            model=dict(type='X'),
            test_dataloader=dict(
                dataset=dict(data_root='/somewhere', pipeline=[dict(type='Y')])
            ),
        )
    )
    meta = dict(classes=('a',), palette=[(1, 2, 3)])
    small = publish_weights.inference_config(config, meta)
    assert small.model == dict(type='X')
    assert small.test_dataloader.dataset.pipeline == [dict(type='Y')]
    assert small.test_dataloader.dataset.metainfo == meta
    assert '/somewhere' not in small.pretty_text


def test_publish__what_float16_cannot_hold_stays_float32():
    state = dict(
        large=torch.tensor([1.0, 1e5]), infinite=torch.tensor([1.0, np.inf])
    )
    small = publish_weights.publish(dict(state_dict=state), '')['state_dict']
    assert small['large'].dtype == torch.float32
    assert small['large'].tolist() == [1.0, 1e5]
    assert small['infinite'].dtype == torch.float16


@pytest.mark.parametrize(
    ('imports', 'expected'),
    [
        (['mine', 'dsym'], ['mine', 'dsym']),
        (['mine'], ['mine', 'dsym']),
        ('mine', ['mine', 'dsym']),
        (None, ['dsym']),
    ],
)
def test_published__config_imports_what_the_run_imported(imports, expected):
    config = Config(
        dict(
            custom_imports=imports and dict(imports=imports),
            model=dict(type='X'),
            test_dataloader=dict(dataset=dict(pipeline=[dict(type='Y')])),
        )
    )
    small = publish_weights.inference_config(config, None)
    assert small.custom_imports == dict(
        imports=expected, allow_failed_imports=False
    )


def test_published__teacher_and_student_are_to_be_exported_first():
    folder = Path(__file__).parents[1] / 'configs/dsym'
    config = Config.fromfile(
        folder / 'dsym_yolov9-t_1xb24-6e_neu-det-semi20.py'
    )
    with pytest.raises(InputError, match=r'export_detector\.py'):
        publish_weights.inference_config(config, None)


def test_published__pipeline_of_joined_data_sets():
    part = dict(type='X', pipeline=[dict(type='Y')])
    dataset = dict(type='ConcatDataset', datasets=[part, part])
    config = Config(
        dict(model=dict(type='X'), test_dataloader=dict(dataset=dataset))
    )
    small = publish_weights.inference_config(config, None)
    assert small.test_dataloader.dataset.pipeline == [dict(type='Y')]


def test_publish__config_without_a_pipeline_leaves_no_file(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / 'x.py').write_text("model = dict(type='X')")
    torch.save(dict(state_dict={}), tmp_path / 'x.pth')
    out = tmp_path / 'out' / 'small'
    argv = ['publish_weights.py', tmp_path / 'x.py', tmp_path / 'x.pth', out]
    monkeypatch.setattr('sys.argv', [str(x) for x in argv])
    with pytest.raises(SystemExit):
        publish_weights.main()
    assert 'x.py has no model or no pipeline' in capsys.readouterr().err
    assert not out.parent.exists()


def test_packaged_detector__finds_three_patches(neu_det_root):
    """patches_273.jpg is in paper_test; the boxes are those of its xml."""
    truth = [[9, 116, 67, 175], [12, 49, 53, 95], [122, 0, 187, 185]]
    predictor = build_predictor(resolve_model(), score_thr=0.5)
    assert [*predictor.classes] == [*CLASSES]
    image = cv2.imread(str(neu_det_root / 'IMAGES' / 'patches_273.jpg'))
    (found,) = predictor([image])
    assert [CLASSES[i] for i in found.labels] == ['patches'] * 3
    ious = box_iou(np.array(truth, np.float32), np.asarray(found.bboxes))
    assert (ious.max(1) > 0.5).all() and (ious.max(0) > 0.5).all()


def test_packaged_detector__mmdets_own_inference_finds_the_same(tmp_path):
    """init_detector and DetInferencer against our predictor; a box drawn."""
    file = tmp_path / 'steel.png'
    cv2.imwrite(str(file), render_steel_image(0, 2).image)
    image = cv2.imread(str(file))
    files = resolve_model()
    (ours,) = build_predictor(files, score_thr=0.001, bf16=False)([image])

    model = init_detector(
        str(files.config), weights.DEFAULT_DETECTOR, device='cpu'
    )
    assert model.dataset_meta['palette'][0] == (220, 20, 60)
    theirs = inference_detector(model, str(file)).pred_instances
    assert len(theirs) == len(ours.labels) > 0
    np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-4)

    inferencer = DetInferencer(
        model=str(files.config), weights=weights.DEFAULT_DETECTOR, device='cpu'
    )
    found = inferencer(
        str(file), out_dir=str(tmp_path), pred_score_thr=0.0, no_save_pred=True
    )['predictions'][0]
    np.testing.assert_allclose(found['scores'], ours.scores, atol=1e-4)
    drawn = cv2.imread(str(tmp_path / 'vis' / 'steel.png'))
    assert (drawn != image).any()


def test_packaged_files__no_path_of_a_machine():
    for file in weights.FOLDER.glob('*_*.py'):
        if file.name != '__init__.py':
            assert 'data_root' not in file.read_text()


def test_packaged_clip__true_boxes_above_background(neu_det_root, tmp_path):
    """Of patches_273.jpg: three true boxes against the corner without any."""
    scorer = load_scorer(
        weights.DEFAULT_CLIP, CLASSES, cache_dir=str(tmp_path)
    )
    path = str(neu_det_root / 'IMAGES' / 'patches_273.jpg')
    boxes = [[9, 116, 67, 175], [12, 49, 53, 95], [122, 0, 187, 185]]
    boxes.append([70, 100, 115, 145])
    (scores,) = scorer.region_scores(
        [path], [torch.tensor(boxes).float()], [(200, 200)]
    )
    patches = scores[:, CLASSES.index('patches')]
    assert (patches[:3] > patches[3]).all()
    assert (scores[:3].argmax(1) == CLASSES.index('patches')).all()
