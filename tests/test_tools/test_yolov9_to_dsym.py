"""The converter of official weights, on files as the official code saves."""

import os
from pathlib import Path

import pytest
import torch
from tiny_run import call_script
from yolo9_peer import build_official
from yolov9_to_dsym import convert_state_dict, read_official

TOOL = Path(__file__).parents[2] / 'tools/model_converters/yolov9_to_dsym.py'


@pytest.fixture(scope='module')
def official():
    torch.manual_seed(0)
    return build_official('gelan-t', num_classes=6)


class Payload:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


def test_pickled_model__tensors_read_code_not_run(official, tmp_path):
    marker = tmp_path / 'was_run'
    path = tmp_path / 'official.pt'
    torch.save(
        dict(model=official, ema=None, opt=Payload(marker)),
        path,
    )
    state_dict = read_official(str(path))
    assert not marker.exists()
    expected = official.state_dict()
    # the file holds `model.` once more than its inner module list
    assert state_dict.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state_dict[name], value), name


def test_ema_is_preferred_and_half_becomes_float(official, tmp_path):
    path = tmp_path / 'official.pt'
    ema = {k: torch.ones_like(v) for k, v in official.state_dict().items()}
    ema = {k: v.half() if v.is_floating_point() else v for k, v in ema.items()}
    torch.save(dict(model=official.state_dict(), ema=ema), path)
    converted, info = convert_state_dict(read_official(str(path)))
    assert info == dict(
        size='t', with_aux=False, num_classes=6, cls_channels=64
    )
    floats = [v for v in converted.values() if v.is_floating_point()]
    assert floats
    assert all(v.dtype == torch.float32 and (v == 1).all() for v in floats)


def test_command_line(official, tmp_path):
    src, dst = tmp_path / 'official.pt', tmp_path / 'converted.pth'
    torch.save(official.state_dict(), src)
    result = call_script(TOOL, src, dst)
    assert result.returncode == 0, result.stderr
    assert 'YOLOv9-t, inference graph, 6 classes' in result.stdout
    converted = torch.load(dst)['state_dict']
    # one tensor less: the constant kernel of the DFL layer
    assert len(converted) == len(official.state_dict()) - 1


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'no such file'),
        (dict(epoch=3), 'found no model'),
        (
            {'0.conv.weight': torch.zeros(48, 3, 3, 3)},
            'not a YOLOv9 graph',
        ),
    ],
)
def test_bad_input_is_one_line(content, message, tmp_path):
    src = tmp_path / 'bad.pt'
    if content is not None:
        torch.save(content, src)
    result = call_script(TOOL, src, tmp_path / 'out.pth')
    assert result.returncode == 1
    assert message in result.stderr
    assert str(src) in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize('content', [b'', b'version https://git-lfs', b'PK'])
def test_file_of_another_kind_is_named_so(content, tmp_path):
    path = tmp_path / 'bad.pt'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='damaged, not a PyTorch file'):
        read_official(str(path))


def test_list_of_tensors_is_no_model(tmp_path):
    path = tmp_path / 'list.pt'
    torch.save([torch.zeros(1)], path)
    with pytest.raises(ValueError, match='found no model'):
        read_official(str(path))


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['conv1.weight'], "conv1.weight does not begin with a layer's"),
        (['0.conv.weight', '38.cv2.0'], 'last layer 38, stem of 48'),
    ],
)
def test_foreign_weights_are_refused(names, message):
    weights = {name: torch.zeros(48, 3, 3, 3) for name in names}
    with pytest.raises(ValueError, match=message):
        convert_state_dict(weights)


def test_detection_layer_missing(official):
    state_dict = {
        name: value
        for name, value in official.state_dict().items()
        if '.22.cv3.' not in name
    }
    with pytest.raises(ValueError, match='detection layer is missing'):
        convert_state_dict(state_dict)


def test_fused_weights_are_refused(official):
    state_dict = dict(official.state_dict())
    name = 'model.4.cv2.0.m.0.cv1.conv.weight'
    state_dict[name] = torch.zeros(16, 16, 3, 3)
    with pytest.raises(ValueError, match='fused for inference'):
        convert_state_dict(state_dict)
