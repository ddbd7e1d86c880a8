"""YOLOv9's parts in other people's configs."""

from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

BASE = Path(__file__).parents[2] / 'configs/_base_/models/yolov9_t.py'


@pytest.mark.parametrize('scope', ['mmdet', 'mmyolo', 'mmengine'])
def test_same_model_in_any_default_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(Config.fromfile(BASE).model)
    head = model.bbox_head
    # mmdet has an IoULoss too; CIoU is mmyolo's
    assert type(head.loss_bbox).__module__.startswith('mmyolo')
    assert head.loss_bbox.iou_mode == 'ciou'
    assert head.assigner.num_classes == head.num_classes == 6
    assert head.aux_head_module.num_classes == 6


def test_mmdet_batches_give_the_losses_of_mmyolo_batches():
    """Lists of data samples and mmyolo's (N, 6) tensor are the same batch."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(Config.fromfile(BASE).model).train()
    images = torch.rand(2, 3, 64, 64)
    boxes = torch.tensor(
        [[0, 3, 4.0, 6, 40, 50], [0, 1, 20, 8, 60, 30], [1, 5, 2, 2, 62, 62]]
    )
    samples = []
    for index in range(2):
        rows = boxes[boxes[:, 0] == index]
        sample = DetDataSample(metainfo=dict(img_shape=(64, 64)))
        sample.gt_instances = InstanceData(
            bboxes=rows[:, 2:], labels=rows[:, 1].long()
        )
        samples.append(sample)
    features = model.neck(model.backbone(images))
    from_list = model.bbox_head.loss(features, samples)
    from_tensor = model.bbox_head.loss(
        features, dict(bboxes_labels=boxes, img_metas=[{}, {}])
    )
    assert from_list.keys() == from_tensor.keys()
    assert len(from_list) == 6
    for name, loss in from_list.items():
        torch.testing.assert_close(loss, from_tensor[name])


def test_images_without_boxes_train_the_class_branch_only():
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(Config.fromfile(BASE).model).train()
    losses = model.bbox_head.loss(
        model.neck(model.backbone(torch.rand(2, 3, 64, 64))),
        dict(bboxes_labels=torch.zeros(0, 6), img_metas=[{}, {}]),
    )
    for prefix in ('', 'aux_'):
        assert losses[f'{prefix}loss_cls'] > 0
        assert losses[f'{prefix}loss_bbox'] == 0
        assert losses[f'{prefix}loss_dfl'] == 0
    sum(losses.values()).backward()


def test_missing_auxiliary_features_are_named():
    config = Config.fromfile(BASE).model
    config.neck.with_aux = False
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(config).train()
    features = model.neck(model.backbone(torch.rand(2, 3, 64, 64)))
    with pytest.raises(ValueError, match='set with_aux of backbone and neck'):
        model.bbox_head(features)


@pytest.mark.parametrize('size', ['m', 'c'])
def test_names_of_all_training_only_entries_hold_aux(size):
    """PreflightHook lets a checkpoint lack what ``aux`` names."""
    config = Config.fromfile(BASE.with_name(f'yolov9_{size}.py')).model
    with DefaultScope.overwrite_default_scope('mmyolo'):
        with torch.device('meta'):
            training = MODELS.build(config).state_dict()
        config.backbone.with_aux = config.neck.with_aux = False
        config.bbox_head.aux_head_module = None
        with torch.device('meta'):
            inference = MODELS.build(config).state_dict()
    only_training = training.keys() - inference.keys()
    assert len(only_training) > 0
    assert all('aux' in name for name in only_training)
    assert inference.keys() <= training.keys()
