"""The metafiles' figures are those of the records that they name."""

import json
from pathlib import Path
from statistics import fmean

import pytest
import yaml

REPO = Path(__file__).parents[1]
MODELS = [
    model
    for file in yaml.safe_load((REPO / 'model-index.yml').read_text())[
        'Import'
    ]
    for model in yaml.safe_load((REPO / file).read_text())['Models']
]
CLASSES = (
    'crazing', 'inclusion', 'patches', 'pitted_surface', 'rolled-in_scale',
    'scratches',
)  # fmt: skip
KEYS = {'box AP50': 'mAP_50', 'box AP': 'mAP'}
KEYS.update({f'{name} AP50': f'{name}_AP50' for name in CLASSES})


def percent(values):
    """As the README's tables: the mean over the seeds, one digit."""
    return float(f'{100 * fmean(values):.1f}')


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_model__is_as_recorded(model):
    said = model['Metadata']
    paths = [REPO / path for path in said['Records']]
    records = [json.loads(path.read_text()) for path in paths]
    assert (REPO / model['Config']).is_file()
    assert said['Seeds'] == [str(record['seed']) for record in records]
    minutes = fmean(record['minutes'] for record in records)
    assert said['Training Minutes'] == round(minutes, 1)
    for record in records:
        machine = record['machine']
        resources = f'{machine["cpu"]}, {machine["cores"]} cores, '
        assert said['Training Resources'].startswith(resources)
        bf16 = 'amx_bf16' in machine['features']
        assert said['Training Resources'].endswith('float32') != bf16
        assert said['Epochs'] == record['epochs']
        assert said['Training Data'] == f'NEU-DET {record["train_split"]}'
    splits = [result['Dataset'] for result in model['Results']]
    assert splits == [f'NEU-DET {split}' for split in records[0]['metrics']]
    for result in model['Results']:
        split = result['Dataset'].split()[-1]
        scores = [record['metrics'][split] for record in records]
        assert result['Metrics'] == {
            name: percent([score[key] for score in scores])
            for name, key in KEYS.items()
        }


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_lists__hold_strings(model):
    """`mim search` joins them."""
    lists = [x for x in model['Metadata'].values() if isinstance(x, list)]
    assert lists
    assert all(isinstance(x, str) for entries in lists for x in entries)


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_command__runs_what_the_records_are_of(model):
    """Its study has a run of each record's name."""
    words = model['Metadata']['Command'].split()
    study = yaml.safe_load((REPO / words[3]).read_text())
    names = [run['name'] for run in study['runs']]
    for path in map(Path, model['Metadata']['Records']):
        assert path.is_relative_to(study['results'])
        assert path.stem.rsplit('_seed', 1)[0] in names
