"""generate_defects.py and audit_synthetic.py on a made-up set of steel."""

import importlib
import json
import sys
from pathlib import Path

import audit_synthetic
import numpy as np
import pytest
import torch
from tiny_diffusion import CLASSES, coco_steel

from dsym.errors import InputError

TOOLS = Path(audit_synthetic.__file__).resolve().parents[1]
GATE = dict(min_change=0.0, max_correlation=1.1)


@pytest.fixture
def config(tmp_path):
    """A config whose labelled set is painted into by copy and paste."""

    def write(**options):
        augment = {
            **dict(
                type='DiffusionAugment',
                dataset=dict(coco_steel(tmp_path / 'steel'), pipeline=[]),
                painter=dict(type='CopyPastePainter', min_side=32),
                ratio=2.0,
                cache_dir=str(tmp_path / 'cache'),
                num_workers=0,
            ),
            **options,
        }
        path = tmp_path / 'config.py'
        path.write_text(
            "custom_imports = dict(imports=['dsym'])\n"
            f'train_dataloader = dict(dataset={augment!r})\n'
        )
        return str(path)

    return write


def generate(monkeypatch, *arguments):
    monkeypatch.syspath_prepend(TOOLS)
    tool = importlib.import_module('generate_defects')
    monkeypatch.setattr(sys, 'argv', [tool.__name__, *map(str, arguments)])
    tool.main()


def test_generate__report_counts_what_is_on_disk(
    config, tmp_path, monkeypatch, capsys
):
    generate(
        monkeypatch,
        config(gate=dict(GATE, max_correlation=0.5)),
        '--ratio',
        3,
        '--report',
        tmp_path / 'report',
    )
    said = capsys.readouterr().out.splitlines()
    (ann_file,) = (x for x in said if x.endswith('annotations_12.json'))
    coco = json.loads(Path(ann_file).read_text())
    assert len(coco['images']) == 12
    content = json.loads((tmp_path / 'report/synthetic.json').read_text())
    assert content['images'] == 12
    (call,) = content['seconds']
    assert call['images'] == 32 and call['seconds'] > 0  # a chunk
    kept = {name: row['kept'] for name, row in content['defects'].items()}
    painted = [x['category_id'] for x in coco['annotations']]
    assert kept == {
        name: painted.count(i + 1) for i, name in enumerate(CLASSES)
    }
    # real defects, pasted: the others were refused as copies
    total = sum(content['reasons'].values())
    assert content['reasons']['copy'] == total - sum(kept.values()) > 0
    assert (tmp_path / 'report/synthetic.png').stat().st_size > 10_000


def test_generate__config_without_synthetic_images(
    tmp_path, monkeypatch, capsys
):
    path = tmp_path / 'plain.py'
    path.write_text("train_dataloader = dict(dataset=dict(type='X'))\n")
    with pytest.raises(SystemExit):
        generate(monkeypatch, path)
    assert 'has no DiffusionAugment' in capsys.readouterr().err


def test_audit__defects_of_two_kinds_are_told_apart(monkeypatch):
    """Dark and bright squares, as good as noiseless: every crop is right."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(0, 0.1, (40, 1, 64, 64))).float()
    labels = torch.arange(40) % 2
    images[labels == 0, :, 20:40, 20:40] -= 2
    images[labels == 1, :, 20:40, 20:40] += 2
    monkeypatch.setattr(audit_synthetic, 'STEPS', 40)
    model = audit_synthetic.train((images, labels), 2, seed=0)
    assert audit_synthetic.recalls(model, (images, labels), 2).tolist() == [
        1,
        1,
    ]
    swapped = audit_synthetic.recalls(model, (images, 1 - labels), 2)
    assert swapped.tolist() == [0, 0]


def test_audit__crops_are_squares_around_defects(tmp_path):
    """Labels in order; a bright bar of 40 x 10 px fills the middle rows."""
    from mmengine.registry import DATASETS

    dataset = DATASETS.build(dict(coco_steel(tmp_path), pipeline=[]))
    found = audit_synthetic.defects(dataset)
    images, labels = audit_synthetic.crops(found)
    assert labels.tolist() == [0, 0, 1, 0, 1, 0]
    assert images.shape == (6, 1, 64, 64)
    bar = images[2, 0]  # 48 px around (10, 40, 50, 50), moved into the image
    rows = bar[:, 20:44].mean(1)
    height = 10 / 48 * 64
    assert int((rows > rows.max() / 2).sum()) == pytest.approx(height, abs=2)
    torch.testing.assert_close(
        images.mean((1, 2, 3)), torch.zeros(6), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(), 'the data set of DiffusionAugment has no split'),
        (dict(ratio=0), 'ratio=0 asks for no synthetic image'),
    ],
)
def test_audit__mistakes_are_one_line(config, monkeypatch, options, message):
    argv = ['audit_synthetic.py', config(**options)]
    monkeypatch.setattr(sys, 'argv', argv)
    with pytest.raises(InputError, match=message) as error:
        audit_synthetic.main()
    assert '\n' not in str(error.value)


def test_audit__painted_defects_alone(tmp_path):
    rows = [
        dict(image_id=7, category_id=2, bbox=[1, 2, 3, 4], synthetic=True),
        dict(image_id=7, category_id=1, bbox=[5, 5, 5, 5], synthetic=False),
    ]
    images = [dict(id=7, file_name='000003.png')]
    file = tmp_path / 'annotations_1.json'
    file.write_text(json.dumps(dict(images=images, annotations=rows)))
    assert audit_synthetic.painted(file) == [
        (str(tmp_path / 'images' / '000003.png'), [1, 2, 4, 6], 1)
    ]
