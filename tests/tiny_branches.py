"""DSYMDetector around small detectors, and batches of it at 64 px."""

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from tiny_semi import CONFIGS

SIZE = 64
EVERYTHING = dict(
    pseudo_test_cfg=dict(score_thr=0.0, max_per_img=3),
    selector=dict(type='ScoreThreshold', score_thr=0.0),
)


def mamba():
    return Config.fromfile(CONFIGS / '_base_/models/yolov9_t_mamba.py').model


def of_mmyolo(path):
    """A stock config of mmyolo with six classes, from scratch."""
    model = get_config(f'mmyolo::{path}').model
    model.bbox_head.head_module.num_classes = 6
    model.train_cfg.assigner.num_classes = 6
    model.backbone.init_cfg = None
    return scoped(model, 'mmyolo')


def yolov8():
    return of_mmyolo('yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py')


def mmyolo_rtmdet():
    return of_mmyolo('rtmdet/rtmdet_tiny_syncbn_fast_8xb32-300e_coco.py')


def rtmdet():
    model = get_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py').model
    model.bbox_head.num_classes = 6
    model.backbone.init_cfg = None
    return scoped(model, 'mmdet')


def tood():
    model = get_config('mmdet::tood/tood_r50_fpn_1x_coco.py').model
    model.backbone.update(
        depth=18, init_cfg=None, frozen_stages=-1, norm_eval=False
    )
    model.neck.in_channels = [64, 128, 256, 512]
    model.bbox_head.num_classes = 6
    return scoped(model, 'mmdet')


def yolov3():
    path = 'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py'
    model = get_config(f'mmdet::{path}').model
    model.bbox_head.num_classes = 6
    model.backbone.init_cfg = None
    return scoped(model, 'mmdet')


def scoped(model, scope):
    """The config with its scope, and batch norm that a CPU has."""
    text = Config(dict(model=model)).model
    text['_scope_'] = scope

    def no_sync(node):
        for value in node.values() if isinstance(node, dict) else node:
            if isinstance(value, (dict, list, tuple)):
                no_sync(value)
        if isinstance(node, dict) and node.get('type') == 'SyncBN':
            node['type'] = 'BN'

    no_sync(text)
    return text


DETECTORS = [mamba, yolov8, mmyolo_rtmdet, rtmdet, tood]


def build(detector, **semi_train_cfg):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='DSYMDetector',
            detector=detector(),
            semi_train_cfg={**EVERYTHING, **semi_train_cfg},
        )
    )
    model.init_weights()
    for name, layer in model.named_modules():
        # RTMDet's distances start at 0: boxes without area
        if 'rtm_reg' in name and getattr(layer, 'bias', None) is not None:
            torch.nn.init.constant_(layer.bias, 2.0)
    # TOOD's head asks for the epoch
    MessageHub.get_current_instance().update_info('epoch', 5)
    return model.train()


def sample(image, boxes=()):
    """A sample at 64 px of an original of 32 px, flipped."""
    flip = torch.tensor([[-2.0, 0, SIZE], [0, 2, 0], [0, 0, 1]])
    data = DetDataSample(
        metainfo=dict(
            img_path=f'{image}.jpg',
            img_id=image,
            img_shape=(SIZE, SIZE),
            batch_input_shape=(SIZE, SIZE),
            pad_shape=(SIZE, SIZE),
            ori_shape=(32, 32),
            scale_factor=(2.0, 2.0),
            homography_matrix=flip.numpy(),
        )
    )
    data.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4).float(),
        labels=torch.arange(len(boxes)) % 6,
    )
    return data


def batch(copies=1, copies_unlabeled=1, hidden=()):
    """Two labelled and two unlabelled images, repeated."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3, 2, 3, SIZE, SIZE, generator=generator)
    truth = [[[4, 6, 40, 30]], [[10, 10, 60, 50], [2, 30, 20, 60]]]
    inputs = dict(
        sup=images[0].repeat(copies, 1, 1, 1),
        unsup_teacher=images[1].repeat(copies_unlabeled, 1, 1, 1),
        unsup_student=images[2].repeat(copies_unlabeled, 1, 1, 1),
    )
    samples = dict(
        sup=[sample(i, truth[i]) for _ in range(copies) for i in (0, 1)],
        **{
            branch: [
                sample(i, hidden)
                for _ in range(copies_unlabeled)
                for i in (2, 3)
            ]
            for branch in ('unsup_teacher', 'unsup_student')
        },
    )
    return inputs, samples


def second_alone():
    """The batch without its first unlabelled image."""
    inputs, samples = batch()
    for branch in ('unsup_teacher', 'unsup_student'):
        inputs[branch] = inputs[branch][1:]
        samples[branch] = samples[branch][1:]
    return inputs, samples


def total(losses):
    return sum(
        float(sum(v) if isinstance(v, list) else v)
        for k, v in losses.items()
        if k.startswith('unsup') and 'loss' in k
    )


def floats(losses):
    """Each loss as one number, of lists the sum."""
    return {
        key: float(sum(x) if isinstance(x, list) else x)
        for key, x in losses.items()
    }
