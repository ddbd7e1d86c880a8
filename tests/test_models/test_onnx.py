"""A detector with MambaHead in ONNX gives PyTorch's detections."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

CONFIGS = Path(__file__).parents[2] / 'configs'


class Network(nn.Module):
    """Everything before the boxes are decoded and chosen."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        outs = self.model.bbox_head(
            self.model.neck(self.model.backbone(images))
        )
        return [level for kind in outs for level in kind]


@pytest.mark.parametrize('scan', ['strided', 'bidirectional', 'cross'])
def test_same_detections_in_onnxruntime(tmp_path, scan):
    onnxruntime = pytest.importorskip('onnxruntime')
    config = Config.fromfile(CONFIGS / '_base_/models/yolov9_t_mamba.py').model
    config.bbox_head.head_module.update(scan=scan, with_confidence=True)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(config).eval()
    model.init_weights()
    for name, parameter in model.named_parameters():
        if '_scans.' in name and name.endswith('out_proj.weight'):
            nn.init.normal_(parameter)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(0.5)
    images = torch.rand(1, 3, 96, 160)
    file = str(tmp_path / 'model.onnx')
    torch.onnx.export(Network(model), images, file, dynamo=False)
    session = onnxruntime.InferenceSession(file)
    (name,) = [x.name for x in session.get_inputs()]
    found = session.run(None, {name: images.numpy()})
    with torch.no_grad():
        expected = Network(model)(images)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-3, atol=1e-3)

    head = model.bbox_head
    head.test_cfg.update(score_thr=0.0)
    meta = dict(
        ori_shape=(96, 160), img_shape=(96, 160), scale_factor=(1.0, 1.0)
    )

    def detect(levels):
        kinds = [levels[i : i + 3] for i in range(0, len(levels), 3)]
        (boxes,) = head.predict_by_feat(*kinds, batch_img_metas=[meta])
        return boxes

    ours, theirs = detect(expected), detect([torch.tensor(x) for x in found])
    assert len(ours) == len(theirs) > 0
    for key in ('bboxes', 'scores', 'confidences'):
        torch.testing.assert_close(
            ours[key], theirs[key], rtol=1e-3, atol=1e-3
        )
    assert torch.equal(ours.labels, theirs.labels)
