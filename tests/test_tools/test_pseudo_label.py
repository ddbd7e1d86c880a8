"""pseudo_label.py: a folder is labelled, corrected and read back."""

import json
from collections import Counter
from pathlib import Path

import cv2
import pytest
import torch
from tiny_clip import RESNET, tiny_clip
from tiny_detector import CLASSES, write_detector, write_pictures
from tiny_run import call_script

from dsym.clip import save_clip
from dsym.datasets import CLASSES as NEU_CLASSES
from dsym.datasets import DefectVOCDataset, VerifiedCocoDataset
from dsym.inference import build_predictor, pseudo_labels, resolve_model
from dsym.models.detectors.chosen_images import refuse_images
from dsym.models.detectors.pseudo_labels import PSEUDO_CFG
from dsym.weights import DEFAULT_CLIP, DEFAULT_DETECTOR, FOLDER, PREFIX

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'pseudo_label.py'


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return write_detector(tmp_path_factory.mktemp('pseudo') / 'run')


@pytest.fixture(scope='module')
def steel(tiny, tmp_path_factory):
    """The same detector with the classes of its labelled set."""
    content = torch.load(tiny.checkpoint, weights_only=True)
    content['meta']['dataset_meta']['classes'] = NEU_CLASSES
    checkpoint = tmp_path_factory.mktemp('steel') / 'detector.pth'
    torch.save(content, checkpoint)
    return tiny._replace(checkpoint=str(checkpoint))


def label(tiny, folder, out, *args):
    return call_script(
        TOOL, *tiny, folder, '--out-dir', out, '--selector',
        'type=ScoreThreshold', 'score_thr=0.05', *args,
    )  # fmt: skip


def test_round_trip__one_correction(tiny, tmp_path):
    folder = write_pictures(tmp_path / 'in', ['a.png', 'sub/b.png'])
    (folder / 'bad.png').write_bytes(b'no image')
    out = tmp_path / 'labels'
    done = label(tiny, folder, out)
    assert done.returncode == 1, done.stderr  # of the bad image
    summary = json.loads((out / 'summary.json').read_text())
    content = json.loads((out / 'coco.json').read_text())
    number = len(content['annotations'])
    assert summary['images']['unreadable'] == 1
    assert sum(summary['boxes']['selected'].values()) == number > 1
    boxes_of = Counter(x['image_id'] for x in content['annotations'])
    empty = [x for x in content['images'] if not boxes_of[x['id']]]
    assert summary['images']['empty'] == len(empty)
    written = Counter(x['category_id'] for x in content['annotations'])
    names = {x['id']: x['name'] for x in content['categories']}
    assert summary['boxes']['selected'] == {
        name: written[key] for key, name in names.items()
    }
    assert all(x['pseudo'] == 1 for x in content['annotations'])

    content['annotations'].pop(0)
    (out / 'coco.json').write_text(json.dumps(content))
    corrected = tmp_path / 'corrected.json'
    done = call_script(TOOL, '--read', out, '--out', corrected)
    assert done.returncode == 0, done.stderr
    assert (
        f'{number - 1} kept, 0 moved, 0 relabelled, 0 added, 1 removed'
    ) in done.stdout
    dataset = VerifiedCocoDataset(
        ann_file=str(corrected),
        data_prefix=dict(img=str(folder)),
        metainfo=dict(classes=CLASSES),
        test_mode=True,
    )
    assert len(dataset) == 2

    content['annotations'][0]['category_id'] = 7
    (out / 'coco.json').write_text(json.dumps(content))
    corrected.unlink()
    done = call_script(TOOL, '--read', out, '--out', corrected)
    assert done.returncode == 1
    assert '1 unknown classes' in done.stdout
    assert not corrected.exists()

    (folder / 'bad.png').unlink()
    voc = DefectVOCDataset(
        data_root=str(folder),
        data_prefix=dict(img='', ann=str(out / 'voc')),
        metainfo=dict(classes=CLASSES),
    )
    boxes = [len(voc.get_data_info(i)['instances']) for i in range(len(voc))]
    assert sum(boxes) == number


def test_clip__judges_with_thresholds_of_labelled_images(steel, tmp_path):
    save_clip(tiny_clip(RESNET), tmp_path / 'clip', half=False)
    folder = write_pictures(tmp_path / 'in', ['a.png', 'b.png'])
    done = label(
        steel, folder, tmp_path / 'out', '--clip', tmp_path / 'clip',
        '--formats', 'coco',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / 'out/summary.json').read_text())
    stages = summary['boxes']
    assert list(stages) == ['predicted', 'selected', 'filtered']
    assert sum(stages['selected'].values()) > 0
    for name in NEU_CLASSES:
        assert stages['filtered'][name] <= stages['selected'][name]
    content = json.loads((tmp_path / 'out/coco.json').read_text())
    assert len(content['annotations']) == sum(stages['filtered'].values())
    assert all('clip_score' in x for x in content['annotations'])
    assert not (tmp_path / 'out/voc').exists()


def test_clip__refuses_images_before_the_selection(
    tiny, tmp_path, monkeypatch
):
    class Judge:
        def keep_images(self, samples):
            return [not x.img_path.endswith('a.png') for x in samples]

        def __call__(self, samples, labels):
            return refuse_images(self, samples, labels)

    monkeypatch.setattr(pseudo_labels, 'labeled_images', lambda *_: None)
    monkeypatch.setattr(pseudo_labels, 'build_clip_filter', lambda *_: Judge())
    names = ['a.png', 'b.png', 'c.png', 'd.png', 'e.png']
    folder = write_pictures(tmp_path / 'in', names)
    expected = ['type=ClassThresholds', 'boxes_per_image=.5,.5,.5,.5,.5,.5']

    def labels_of(out, *args):
        done = call_script(
            TOOL, *tiny, folder, '--out-dir', tmp_path / out, '--formats',
            'coco', '--selector', *expected, *args,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        content = json.loads((tmp_path / out / 'coco.json').read_text())
        names = {x['id']: x['file_name'] for x in content['images']}
        return {
            (names[x['image_id']], x['category_id'], x['score'], x['weight'])
            for x in content['annotations']
        }

    found = labels_of('judged', '--clip', 'x')
    summary = json.loads((tmp_path / 'judged/summary.json').read_text())
    assert summary['images']['refused'] == 1
    (folder / 'a.png').unlink()
    assert found == labels_of('alone') != set()


def test_confidences__choose_the_boxes(tmp_path):
    mamba = write_detector(tmp_path / 'run', mamba=True)
    folder = write_pictures(tmp_path / 'in', ['a.png', 'b.png'])
    least = PSEUDO_CFG['score_thr']
    predictor = build_predictor(
        resolve_model(*mamba), least, test_cfg=PSEUDO_CFG
    )
    images = [cv2.imread(str(x)) for x in sorted(folder.iterdir())]
    found = torch.cat([x.confidences for x in predictor(images)]).float()
    middle = round(float(found.median()), 3)
    done = label(
        mamba, folder, tmp_path / 'out', '--selector', 'type=ScoreThreshold',
        'by=confidences', f'score_thr={middle}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / 'out/coco.json').read_text())
    expected = int((found >= middle).sum())
    assert len(content['annotations']) == expected
    assert 0 < expected < len(found)


def test_again__corrections_stay_and_the_rest_is_replaced(tiny, tmp_path):
    folder = write_pictures(tmp_path / 'in', ['a.png', 'sub/b.png'])
    out = tmp_path / 'labels'
    assert label(tiny, folder, out).returncode == 0

    # as the tool wrote it: labels of what is gone go
    (folder / 'sub/b.png').unlink()
    assert label(tiny, folder, out).returncode == 0
    assert [x.name for x in (out / 'voc').rglob('*')] == ['a.xml']

    text = (out / 'voc/a.xml').read_text()
    corrected = text.replace('<difficult>0<', '<difficult>1<', 1)
    assert corrected != text
    (out / 'voc/a.xml').write_text(corrected)
    done = label(tiny, folder, out, '--formats', 'coco')
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f'{out}/voc/a.xml is not as this tool wrote it' in line
    assert (out / 'voc/a.xml').read_text() == corrected

    done = label(tiny, folder, out, '--formats', 'coco', '--overwrite')
    assert done.returncode == 0, done.stderr
    names = sorted(x.name for x in out.iterdir())
    assert names == ['coco.json', 'summary.json', 'written.json']


def test_again__no_half_of_the_labels(tiny, tmp_path):
    folder = write_pictures(tmp_path / 'in', ['a.png', 'a.bmp'])
    out = tmp_path / 'labels'
    done = label(tiny, folder, out)
    assert done.returncode == 2 and '--formats coco' in done.stderr
    assert label(tiny, folder, out, '--formats', 'coco').returncode == 0
    assert not (out / 'voc').exists()


def test_packaged__one_name_for_config_and_checkpoint(tmp_path):
    folder = write_pictures(tmp_path / 'in', ['a.png'])
    done = call_script(
        TOOL, DEFAULT_DETECTOR, folder, '--out-dir', tmp_path / 'out'
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / 'out/coco.json').read_text())
    assert [x['name'] for x in content['categories']] == [*NEU_CLASSES]
    assert [x['file_name'] for x in content['images']] == ['a.png']
    summary = json.loads((tmp_path / 'out/summary.json').read_text())
    name = f'{DEFAULT_DETECTOR.removeprefix(PREFIX)}.pth'
    assert summary['info']['checkpoint'] == str(FOLDER / name)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([DEFAULT_DETECTOR], 'to write labels, folder is needed'),
        (['x.py', 'in'], 'to write labels, folder is needed'),
        ([], 'to write labels, config is needed'),
        (['dsym://no', 'in'], 'dsym://no: the package has no such weights'),
        (
            [DEFAULT_DETECTOR, 'in', '--clip', DEFAULT_CLIP],
            '--labeled',  # the package has no labelled images
        ),
    ],
)
def test_packaged__mistakes_are_one_line(arguments, message, tmp_path):
    done = call_script(TOOL, *arguments, '--out-dir', tmp_path / 'out')
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / 'out').exists()


WRONG_SELECTORS = {
    ('type=ScoreThreshold', 'score_thr=50'): (
        'score_thr=50: give a number from 0 to 1'
    ),
    ('type=ScoreThreshold', 'score_thr=0.01'): (
        'score_thr=0.01: boxes of less than 0.05 are not looked at'
    ),
    ('type=ScoreThreshold', 'score_thr=0,5'): (
        'score_thr=[0, 5]: give one number with a decimal point'
    ),
    ('type=ClassThresholds', 'boxes_per_image=1,2'): (
        'boxes_per_image=[1, 2]: the detector has 6 classes'
    ),
    ('type=MixtureThreshold', 'num_classes=2', 'interval=1'): (
        'num_classes=2: the detector has 6 classes'
    ),
    ('type=MixtureThreshold', 'bounds=0.2,0.5,0.9'): (
        'bounds=[0.2, 0.5, 0.9]: give two numbers'
    ),
    ('type=ConstantEMA',): (
        '--selector type=ConstantEMA: give type=ScoreThreshold'
    ),
}


def test_errors__one_line(tiny, tmp_path):
    done = call_script(TOOL, *tiny)
    assert done.returncode == 2
    assert 'to write labels, folder is needed' in done.stderr
    done = call_script(TOOL, '--read', tmp_path, '--out', 'x', '--clip', 'y')
    assert 'clip has no meaning with --read' in done.stderr
    done = call_script(TOOL, '--read', tmp_path, '--out', tmp_path / 'x')
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(tmp_path) in line
    (tmp_path / 'written.json').write_text('{"images": [')
    done = call_script(
        TOOL, '--read', tmp_path, '--out', tmp_path / 'x', '--format', 'coco'
    )
    assert done.returncode == 2
    assert 'written.json is no JSON' in done.stderr
    (tmp_path / 'written.json').unlink()
    out = tmp_path / 'out'
    folder = write_pictures(tmp_path / 'in', ['a.png'])
    for arguments, message in (
        ([tmp_path / 'no', '--out-dir', out], 'no: there is no such folder'),
        ([tmp_path, '--out-dir', tiny[0]], 'is a file: give a folder'),
        (
            [tmp_path, '--out-dir', out, '--selector', 'foo'],
            '--selector foo: give KEY=VALUE',
        ),
        *(
            ([folder, '--out-dir', out, '--selector', *given], message)
            for given, message in WRONG_SELECTORS.items()
        ),
    ):
        done = call_script(TOOL, *tiny, *arguments)
        assert done.returncode == 2 and message in done.stderr
        assert not out.exists()
        assert 'Predicting' not in done.stderr  # no image was looked at
    done = call_script(TOOL, *tiny, tmp_path / 'in', '--out-dir', '/proc/no')
    assert done.returncode == 2
    assert '--out-dir /proc/no: nothing can be written' in done.stderr
