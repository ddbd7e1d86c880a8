"""The model card says what the records, configs and files say."""

import hashlib
import json
import re
import shlex
from pathlib import Path

import publish_weights
import pytest
import torch
import yaml
from mmengine.config import Config

from dsym import weights

CARD = weights.FOLDER / 'README.md'
REPO = Path(__file__).resolve().parents[1]
DETECTOR = weights.DEFAULT_DETECTOR.removeprefix(weights.PREFIX)
CLIP = weights.DEFAULT_CLIP.removeprefix(weights.PREFIX)
RESULTS = 'configs/yolov9/results'
RUN = 'start-2.5_120e_seed0'


def section(name):
    """The text of a section in one line, and its records by their path."""
    text = CARD.read_text().split(f'\n## {name}\n')[1].split('\n## ')[0]
    links = re.findall(r'\]\(\.\./\.\./\.\./(configs/[^)]*\.json)\)', text)
    records = {x: json.loads((REPO / x).read_text()) for x in links}
    return ' '.join(text.split()), records


def commands(name):
    """Words of each command of a section."""
    text = CARD.read_text().split(f'\n## {name}\n')[1].split('\n## ')[0]
    block = re.search(r'```bash\n(.*?)```', text, re.S)[1]
    lines = map(shlex.split, block.replace('\\\n', ' ').splitlines())
    return [words for words in lines if words and words[0] != 'export']


def packaged_meta():
    """What the packaged checkpoint says about itself."""
    path = weights.FOLDER / f'{DETECTOR}.pth'
    return torch.load(path, weights_only=True)['meta']


def percent(value):
    return f'{100 * value:.1f}'


def test_detector__figures_are_those_of_the_records():
    text, records = section(DETECTOR)
    record = records[f'{RESULTS}/box_start/{RUN}.json']
    scores = record['metrics']
    assert (
        ', '.join(
            f'`{split}` {percent(scores[split]["mAP_50"])}'
            for split in ('dev', 'paper_test', 'test')
        )
        in text
    )
    classes = scores['paper_test']
    crazing, rolled = classes['crazing_AP50'], classes['rolled-in_scale_AP50']
    assert (
        f'Rolled-in scale ({100 * rolled:.0f} on `paper_test`) and crazing '
        f'({100 * crazing:.0f}) are found worst'
    ) in text
    names = packaged_meta()['dataset_meta']['classes']
    worst = sorted(names, key=lambda x: classes[f'{x}_AP50'])[:2]
    assert worst == ['rolled-in_scale', 'crazing']
    assert (
        f'{record["epochs"]} epochs, {record["steps"]:,} steps, seed '
        f'{record["seed"]}, from scratch, in {record["minutes"]:.0f} minutes'
    ) in text
    better = records[f'{RESULTS}/recipe/centered_120e_seed0.json']['metrics']
    assert (
        f'has {percent(better["dev"]["mAP_50"])} there and '
        f'{percent(better["paper_test"]["mAP_50"])} on `paper_test`'
    ) in text


def test_detector__the_shipped_file_itself_was_tested():
    text, records = section(DETECTOR)
    record = records[f'{RESULTS}/packaged/{DETECTOR}.json']
    content = (weights.FOLDER / f'{DETECTOR}.pth').read_bytes()
    assert record['sha256'] == hashlib.sha256(content).hexdigest()
    score = percent(record['metrics']['paper_test']['mAP_50'])
    assert f'of this file, float16, `paper_test` {score}' in text


def test_detector__commands_make_what_is_there():
    study, publish, tested = commands(DETECTOR)
    assert study[:3] == ['python', 'tools/study.py', 'run']
    plan = yaml.safe_load((REPO / study[3]).read_text())
    (run,) = [x for x in plan['runs'] if f'{x["name"]}_seed0' == RUN]
    assert study[study.index('--only') + 1] == RUN
    assert 0 in run.get('seeds', [0])

    assert publish[:2] == [
        'python', 'tools/model_converters/publish_weights.py',
    ]  # fmt: skip
    args = publish_weights.make_parser().parse_args(publish[2:])
    assert args.config == run['config']
    last = run['options']['train_cfg.max_epochs']
    folder = f'work_dirs/studies/{Path(study[3]).stem}/{RUN}'
    assert args.checkpoint == f'{folder}/epoch_{last}.pth'
    assert REPO / args.out == weights.FOLDER / DETECTOR
    meta = packaged_meta()
    found = meta['epoch'], meta['seed'], meta['note']
    assert found == (last, 0, args.note)
    ours = Config.fromfile(weights.FOLDER / f'{DETECTOR}.py')
    theirs = publish_weights.inference_config(
        Config.fromfile(REPO / args.config), meta['dataset_meta']
    )
    assert ours.to_dict() == theirs.to_dict()

    assert tested[:4] == [
        'python', 'tools/test.py', run['config'], weights.DEFAULT_DETECTOR,
    ]  # fmt: skip


def test_clip__figures_are_those_of_the_records():
    text, records = section(CLIP)
    grades = records['configs/clip/results/auroc_dev_textures.json']
    auroc = grades['metrics']['dev']
    assert (
        f'has not seen: {auroc["AUROC"]:.3f}; against badly placed ones '
        f'{auroc["misplaced"]:.3f}, background {auroc["background"]:.3f}, '
        f'other classes {auroc["other_class"]:.3f} ('
    ) in text
    assert f'{grades["epochs"]} epochs from scratch, seed 0' in text
    assert f'commit {grades["commit"]};' in text
    images = records['configs/clip/results/images_unlabeled_60_textures.json']
    both = images['kept']['both']
    assert (
        f'keeps {percent(both["defect images"])}% of the defect images and '
        f'refuses {percent(both["refused"])}% of foreign and defect-free ones'
    ) in text
    record = records['configs/clip/results/boxes_unlabeled80_textures.json']
    rankings = record['rankings']
    plain, both = rankings['confidence'], rankings['confidence, cosine 0.3']
    assert (
        f'AUROC {both["auroc"]:.3f} (confidence^0.7 cosine^0.3) instead of '
        f'{plain["auroc"]:.3f}, precision {percent(both["precision"])} '
        f'instead of {percent(plain["precision"])} at equal recall'
    ) in text
    assert both['recall'] == plain['recall']


def test_clip__commands_make_what_is_there():
    _, records = section(CLIP)
    grades = records['configs/clip/results/auroc_dev_textures.json']
    train, copy = commands(CLIP)
    assert train[:2] == ['python', 'tools/train.py']
    config = f'configs/clip/{grades["config"]}.py'
    assert train[2] == config
    assert (REPO / config).is_file()
    made = f'{train[train.index("--work-dir") + 1]}/clip/*'
    assert copy[:2] == ['cp', made]
    assert REPO / copy[2] == weights.FOLDER / CLIP


@pytest.mark.parametrize(
    ('name', 'files'), [(DETECTOR, f'{DETECTOR}.pth'), (CLIP, f'{CLIP}/*')]
)
def test_sizes(name, files):
    size = sum(x.stat().st_size for x in weights.FOLDER.glob(files))
    (row,) = [x for x in CARD.read_text().splitlines() if f'| `{name}`' in x]
    assert f'| {size / 2**20:.1f} MiB, float16' in row
