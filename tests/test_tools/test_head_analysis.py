"""What analysis tools say of scans and of how far a head sees."""

import json
from pathlib import Path

import pytest
import torch
from ablate_scans import Sizes, choices, find_scans, short_names
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from receptive_field import fields, spread
from tiny_run import call_script, write_config
from torch import nn

from dsym.errors import InputError
from dsym.models.layers import Scan2D

ROOT = Path(__file__).parents[2]
HEAD = {
    'model.bbox_head.type': 'MambaHead',
    'model.bbox_head.head_module.type': 'MambaHeadModule',
}


@pytest.mark.parametrize('name', ['ablate_scans', 'receptive_field'])
def test_record__in_a_folder_that_is_not_there_yet(tmp_path, name):
    path = write_config(tmp_path, ROOT / 'configs')
    config = Config.fromfile(path)
    config.merge_from_dict(HEAD)
    init_default_scope('mmdet')
    torch.save(MODELS.build(config.model).state_dict(), tmp_path / 'a.pth')
    out = tmp_path / 'new' / 'folder' / 'record.json'
    options = ['--cfg-options', *(f'{k}={v}' for k, v in HEAD.items())]
    tool = ROOT / 'tools' / 'analysis_tools' / f'{name}.py'
    done = call_script(tool, path, tmp_path / 'a.pth', '--out', out, *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text())['config'] == 'tiny'


def test_spread__of_two_pixels():
    gradient = torch.zeros(16, 8)
    gradient[0, 1] = gradient[0, 6] = 1.0  # 1 and 6 px from the first
    found = spread(gradient, torch.tensor([0.5, 0.5]))
    assert found == dict(r50=1.0, r90=6.0, beyond=0.5)  # a quarter is 4 px


def test_field__of_one_convolution():
    """A 5x5 kernel that looks at its last pixel: 2 px right and down."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 5, padding=2)
            nn.init.zeros_(self.conv.weight)
            self.conv.weight.data[:, :, 4, 4] = 1.0

        def extract_feat(self, images):
            return [self.conv(images)]

        def bbox_head(self, features):
            return features, features

    images = torch.zeros(2, 3, 16, 16)
    images[0, :, 9, 9] = 1.0
    images[1, :, 4, 7] = 1.0
    (level,) = fields(Model(), images)
    for entry in level:
        assert entry['r50'] == entry['r90'] == pytest.approx(8**0.5)
        assert entry['beyond'] == 0.0


def test_choices__every_branch_and_level():
    names = ['cls_scans.0', 'cls_scans.2', 'reg_scans.0']
    assert choices(names) == {
        'nothing': [],
        'all': names,
        'level 0': ['cls_scans.0', 'reg_scans.0'],
        'level 2': ['cls_scans.2'],
        'cls_scans': ['cls_scans.0', 'cls_scans.2'],
        'reg_scans': ['reg_scans.0'],
    }


def two_heads():
    scans = nn.ModuleDict(dict(cls_scans=nn.ModuleList([Scan2D(8)])))
    other = nn.ModuleDict(dict(cls_scans=nn.ModuleList([Scan2D(8)])))
    return nn.ModuleDict(dict(near=scans, far=other))


def test_find_scans__two_of_one_ending_are_two():
    model = two_heads()
    names = [*find_scans(model)]
    assert names == ['near.cls_scans.0', 'far.cls_scans.0']
    assert short_names(names) == {x: x for x in names}
    assert short_names(names[:1]) == {names[0]: 'cls_scans.0'}
    assert choices(names) == {
        'nothing': [], 'all': names, 'level 0': names, 'cls_scans': names
    }  # fmt: skip


def test_find_scans__student_or_nothing_is_refused():
    model = nn.Module()
    with pytest.raises(InputError, match='has no scans: give a MambaHead'):
        find_scans(model)
    model.student, model.teacher = two_heads(), two_heads()
    with pytest.raises(InputError, match='the plain detector'):
        find_scans(model)


def test_sizes__of_what_scans_add():
    """None at the start; then, over two images, as computed at once."""
    torch.manual_seed(0)
    scan = Scan2D(8)
    scan.init_weights()
    images = torch.randn(2, 8, 4, 4)
    sizes = Sizes(dict(scan=scan))
    scan(images)
    assert sizes.close() == dict(scan=0.0)
    nn.init.normal_(scan.mixers[0].out_proj.weight)
    sizes = Sizes(dict(scan=scan))
    added = torch.cat([scan(image[None]) - image for image in images])
    expected = (added.square().sum() / images.square().sum()).sqrt()
    assert sizes.close()['scan'] == pytest.approx(expected.item(), rel=1e-5)
