"""A detector with MambaHead in ONNX gives PyTorch's detections."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from dsym.compat import EXPORTER_OF_TRACES
from dsym.models.layers.scan2d import SCANS, Scan2D

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


@pytest.mark.parametrize('scan', sorted(SCANS))
def test_scan_is_a_loop_with_the_same_values(tmp_path, scan):
    onnx = pytest.importorskip('onnx')
    onnxruntime = pytest.importorskip('onnxruntime')
    torch.manual_seed(0)
    block, x = Scan2D(8, scan).eval(), torch.rand(1, 8, 13, 10)
    file = tmp_path / 'scan.onnx'
    torch.onnx.export(block, x, str(file), **EXPORTER_OF_TRACES)
    nodes = onnx.load(str(file)).graph.node
    # twice through a chunk and once over the chunks, nothing unrolled
    loops = [node for node in nodes if node.op_type == 'Loop']
    assert len(loops) == 3 * len(SCANS[scan])
    session = onnxruntime.InferenceSession(str(file))
    (name,) = [x.name for x in session.get_inputs()]
    (found,) = session.run(None, {name: x.numpy()})
    np.testing.assert_allclose(found, block(x).detach(), rtol=1e-3, atol=1e-5)


def test_same_detections_in_onnxruntime(tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    config = Config.fromfile(CONFIGS / '_base_/models/yolov9_t_mamba.py').model
    config.bbox_head.head_module.update(with_confidence=True)
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
    network = Network(model).eval()
    images = torch.rand(1, 3, 96, 160)
    file = str(tmp_path / 'model.onnx')
    torch.onnx.export(network, images, file, **EXPORTER_OF_TRACES)
    session = onnxruntime.InferenceSession(file)
    (name,) = [x.name for x in session.get_inputs()]
    found = session.run(None, {name: images.numpy()})
    with torch.no_grad():
        expected = network(images)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-3, atol=1e-3)

    head = model.bbox_head
    # Untrained scores are alike: every box counts, none suppresses another.
    head.test_cfg.update(
        score_thr=0.0, max_per_img=3000, nms=dict(type='nms', iou_threshold=1)
    )
    meta = dict(
        ori_shape=(96, 160), img_shape=(96, 160), scale_factor=(1.0, 1.0)
    )

    def detect(levels):
        kinds = [levels[i : i + 3] for i in range(0, len(levels), 3)]
        (boxes,) = head.predict_by_feat(*kinds, batch_img_metas=[meta])
        columns = boxes.bboxes, boxes.scores[:, None]
        table = torch.cat([*columns, boxes.confidences[:, None]], 1)
        return table.sort(0)[0], boxes.labels.bincount()

    ours, theirs = detect(expected), detect([torch.tensor(x) for x in found])
    # 12 x 20 + 6 x 10 + 3 x 5 places, 6 classes
    assert ours[0].shape == theirs[0].shape == (315 * 6, 6)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-3, atol=1e-3)
    assert torch.equal(ours[1], theirs[1])
