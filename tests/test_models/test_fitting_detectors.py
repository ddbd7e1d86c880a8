"""Detectors that DSYMDetector cannot teach are refused when it is built."""

import pytest
from mmengine.hub import get_config
from tiny_branches import build, scoped, tood

from dsym.errors import InputError


def of_mmdet(path):
    return scoped(get_config(f'mmdet::{path}').model, 'mmdet')


@pytest.mark.parametrize(
    'path',
    [
        'detr/detr_r50_8xb2-150e_coco.py',
        'dino/dino-4scale_r50_8xb2-12e_coco.py',
    ],
)
def test_transformers(path):
    with pytest.raises(InputError, match='has queries'):
        build(lambda: of_mmdet(path))


def test_head_without_inference_settings():
    def centernet():
        model = of_mmdet('centernet/centernet_r18_8xb16-crop512-140e_coco.py')
        model.backbone.init_cfg = None
        return model

    with pytest.raises(InputError, match=r'CenterNetHead\.predict_by_feat'):
        build(centernet)


def test_head_that_learns_from_no_list():
    def yolox():
        path = 'yolox/yolox_tiny_fast_8xb8-300e_coco.py'
        model = scoped(get_config(f'mmyolo::{path}').model, 'mmyolo')
        model.data_preprocessor.batch_augments = None
        return model

    with pytest.raises(InputError, match="give mmdet's YOLOX"):
        build(yolox)


def test_preprocessor_that_would_be_lost():
    def scaled():
        model = tood()
        model.data_preprocessor.type = 'TrackDataPreprocessor'
        return model

    with pytest.raises(InputError, match=r'TrackDataPreprocessor .* lost'):
        build(scaled)
