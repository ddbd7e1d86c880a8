"""SyntheticReport: what real defects are compared with each other by."""

import json

import pytest
import torch
from tiny_clip import tiny_clip
from tiny_diffusion import write_steel

from dsym.clip import CLIPScorer, Prompts, RegionSettings
from dsym.diffusion.synthetic_report import SyntheticReport, image_halves
from dsym.evaluation.kernel_distance import kernel_distance_spread

# boxes of an image, always of the first class
PLACES = ((0, (4, 4, 24, 24)), (0, (30, 8, 50, 28)), (0, (50, 38, 70, 58)))


@pytest.mark.parametrize('counts', [(1, 1), (3, 1, 2, 2, 1), (2,) * 40])
def test_halves__no_image_is_in_both(counts):
    boxes = [
        (f'{i}.png', (0, 0, 9, 9), 0, '')
        for i, count in enumerate(counts)
        for _ in range(count)
    ]
    halves = image_halves(boxes)
    assert sorted(i for x in halves for i in x) == [*range(len(boxes))]
    first, second = ({boxes[i][0] for i in half} for half in halves)
    assert not first & second
    assert (len(first), len(second)) == (
        len(counts) // 2,
        (len(counts) + 1) // 2,
    )
    assert image_halves(boxes) == halves


def test_halves__follow_no_pattern_of_the_list():
    """Two classes in turns: every second image would be one of them."""
    boxes = [(f'{i}.png', (0, 0, 9, 9), i % 2, '') for i in range(40)]
    for half in image_halves(boxes):
        labels = {boxes[i][2] for i in half}
        assert labels == {0, 1}


@torch.no_grad()
def test_distance_of_real_defects__is_that_of_other_images(tmp_path):
    labelled = write_steel(tmp_path / 'steel', [PLACES] * 8)
    (tmp_path / 'chunks').mkdir()
    record = dict(
        number=0, boxes=[PLACES[0][1]], labels=[0], verdicts=[], kept=[0]
    )
    (tmp_path / 'chunks/00000.json').write_text(json.dumps([record]))
    (tmp_path / 'images').mkdir()
    (tmp_path / 'steel/0.png').rename(tmp_path / 'images/000000.png')
    labelled.infos[0]['img_path'] = str(tmp_path / 'images/000000.png')
    ann_file = tmp_path / 'annotations_1.json'
    painted = dict(image_id=0, synthetic=True)
    real = dict(image_id=0, synthetic=False)
    coco = dict(images=[dict(number=0)], annotations=[painted, painted, real])
    ann_file.write_text(json.dumps(coco))
    report = SyntheticReport(ann_file, labelled)
    scorer = CLIPScorer(
        tiny_clip(),
        Prompts(tuple(report.classes)),
        RegionSettings(way='crops'),
        'cosine',
        str(tmp_path / 'cache'),
    )
    summary = report.summary(scorer)
    assert (summary['images'], summary['with_painted']) == (1, 1)
    found = summary['kernel_distance']['real']
    features = report.embed(scorer, report.real)
    assert features.shape[0] == 24
    halves = image_halves(report.real)
    # four images of three boxes each, one after the other in the list
    images = [sorted({i // 3 for i in half}) for half in halves]
    assert [len(x) for x in images] == [4, 4]
    assert not set(images[0]) & set(images[1])
    by_hand = kernel_distance_spread(
        *(features.view(8, 3, -1)[x].flatten(0, 1) for x in images)
    )
    assert found['all'] == pytest.approx(by_hand)
    assert found[report.classes[0]] == pytest.approx(by_hand)
