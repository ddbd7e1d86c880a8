"""The published YOLOv9-t, which the official code no longer builds.

Its class branch has 80 channels, the code's has 128 for 80 classes. The paper
gives 2.0 M parameters and 7.7 GFLOPs, those of the graph for inference.
"""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmyolo.utils import switch_to_deploy
from tiny_run import call_script
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from yolo9_peer import build_official

REPO = Path(__file__).parents[2]
TOOL = REPO / 'tools/model_converters/yolov9_to_dsym.py'
# The code's T for 80 classes, as the official code prints it: parameters
# before and after fusion, with a DFL kernel of 16 that is a buffer here, and
# GFLOPs at 640 px before it.
CODE_PARAMS, CODE_FUSED_PARAMS, CODE_GFLOPS = 2442640, 2407632, 9.90
# From 128 to 80 channels on three levels: weights of the first 3x3 from
# (64, 96, 128) channels, of the 3x3 inside, and of the 1x1 to the classes.
WEIGHTS = [
    9 * inputs * 48 + 9 * (128**2 - 80**2) + 80 * 48
    for inputs in (64, 96, 128)
]


def build_ours(with_aux):
    cfg = Config.fromfile(REPO / 'configs/_base_/models/yolov9_t.py').model
    head = cfg.bbox_head
    head.head_module.num_classes = 80
    head.head_module.cls_channels = head.aux_head_module.cls_channels = 80
    if not with_aux:
        cfg.backbone.with_aux = cfg.neck.with_aux = False
        head.aux_head_module = None
    with DefaultScope.overwrite_default_scope('mmyolo'):
        return MODELS.build(cfg).eval()


def official_t(name):
    """Widen the official model of 40 classes, whose branch has 80 channels.

    The code's rule is max(64, min(2 * classes, 128)) channels.
    """
    torch.manual_seed(0)
    model = build_official(name, num_classes=40)
    detect = model.model[-1]
    detect.nc, detect.no = 80, 80 + 4 * 16
    branches = [*detect.cv3, *getattr(detect, 'cv5', [])]
    for branch in branches:
        branch[-1] = nn.Conv2d(80, 80, 1)
    return model.eval()


def num_params(model):
    return sum(p.numel() for p in model.parameters())


def gflops(model, *args, **kwargs):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, 3, 640, 640), *args, **kwargs)
    return counter.get_total_flops() / 1e9


def test_counts__of_the_paper():
    ours = build_ours(with_aux=False)
    # two BNs a level have two parameters a channel, and a bias once fused
    params = CODE_PARAMS - sum(WEIGHTS) - 3 * 2 * 2 * 48
    fused_params = CODE_FUSED_PARAMS - sum(WEIGHTS) - 3 * 2 * 48
    cells = [(640 // stride) ** 2 for stride in (8, 16, 32)]
    removed = 2e-9 * sum(map(lambda w, n: w * n, WEIGHTS, cells))

    official = official_t('gelan-t')
    assert num_params(official) == params
    assert num_params(ours) == params - 16
    before = gflops(ours, mode='tensor')
    assert before == pytest.approx(CODE_GFLOPS - removed, abs=5e-3)

    switch_to_deploy(ours)
    norms = [m for m in ours.modules() if isinstance(m, nn.BatchNorm2d)]
    biases = sum(m.num_features for m in norms)  # in place of two a channel
    assert num_params(ours) - biases == fused_params - 16
    assert round(fused_params / 1e6, 1) == 2.0
    assert round(gflops(ours, mode='tensor'), 1) == 7.7


@pytest.mark.parametrize(
    ('name', 'with_aux'), [('gelan-t', False), ('yolov9-t', True)]
)
def test_weights__give_the_official_outputs(name, with_aux, tmp_path):
    """Through a file as the official training writes it."""
    official = official_t(name)
    src, dst = tmp_path / 'official.pt', tmp_path / 'converted.pth'
    torch.save(dict(model=official, ema=None), src)
    done = call_script(TOOL, src, dst)
    assert done.returncode == 0, done.stderr
    assert '80 classes, class branch of 80 channels' in done.stdout
    converted = torch.load(dst)['state_dict']
    ours = build_ours(with_aux)
    ours.load_state_dict(converted, strict=True)

    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        raw = official(image)[1]
        cls_scores, bbox_preds = ours(image, mode='tensor')
    if with_aux:  # the auxiliary branch, which ours leaves out, and the main
        raw = raw[1]
        weights = official.model[-1].cv3[0][-1].weight
        name = 'bbox_head.aux_head_module.cls_preds.0.2.weight'
        assert torch.equal(converted[name], weights)
    for level, logits in enumerate(raw):
        torch.testing.assert_close(
            cls_scores[level], logits[:, 64:], rtol=0, atol=1e-4
        )
        bins = logits[:, :64].unflatten(1, (4, 16)).softmax(2)
        torch.testing.assert_close(
            bbox_preds[level],
            (bins * torch.arange(16.0)[:, None, None]).sum(2),
            rtol=0,
            atol=1e-4,
        )
