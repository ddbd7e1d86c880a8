"""report.py: what a user calls, and the page in a browser."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, browser
from report_files import Page, write_run, write_study
from studies.plan import load_study
from tiny_run import call_script

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'report.py'
# Everything that a user can act on or scroll.
REACHABLE = 'a[href], button, summary, input, select, [tabindex="0"]'
# Of a sorted table: its heading's state and the first cells of its rows.
SORTED = """(() => {
  const head = document.activeElement.closest('th');
  const rows = [...head.closest('table').tBodies[0].rows];
  return [head.getAttribute('aria-sort'),
    rows.map(row => row.cells[0].textContent)];
})()"""


def write_synthetic(folder: Path, background: Path) -> Path:
    """One synthetic image with a painted and a real box."""
    for name in ('images', 'chunks'):
        (folder / name).mkdir(parents=True)
    cv2.imwrite(
        str(folder / 'images' / '000000.png'), np.zeros((50, 50, 3), np.uint8)
    )
    coco = dict(
        images=[dict(id=0, file_name='000000.png', number=0)],
        categories=[dict(id=1, name='a')],
        annotations=[
            dict(image_id=0, category_id=1, bbox=[5, 5, 9, 9], synthetic=x)
            for x in (True, False)
        ],
    )
    (folder / 'annotations_1.json').write_text(json.dumps(coco))
    record = dict(
        number=0,
        background=str(background),
        labels=[0, 0],
        kept=[0],
        verdicts=[dict(reason=''), dict(reason='too like')],
    )
    # one more of the chunk, which the set had no need of
    more = dict(record, number=1)
    (folder / 'chunks' / '00000.json').write_text(json.dumps([record, more]))
    return folder


def test_report__of_a_run_with_synthetic_images(tmp_path):
    run = write_run(tmp_path / 'run')
    folder = write_synthetic(tmp_path / 'synthetic', run / '0.png')
    out = tmp_path / 'new' / 'page.html'
    done = call_script(TOOL, run, '--out', out, '--synthetic', folder)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.strip() == str(out)
    page = Page(out.read_text())
    assert 'Real beside synthetic images' in page.headings
    assert ['a', '2', '1', '50.0'] in page.cells
    assert 'on 0: a (painted), a (real)' in page.alts
    assert 'too like (1)' in out.read_text()


def stamp(study, root):
    """Make the records those of the study's configs."""
    for run in load_study(study, root, root):
        if run.record.is_file():
            record = json.loads(run.record.read_text())
            record['config_hash'] = run.hash()
            run.record.write_text(json.dumps(record))


def write_yaml(folder: Path, *runs: dict) -> Path:
    """A study of the records in ``results``; each run has one config."""
    (folder / 'config.py').write_text('a = 1')
    study = dict(
        results='results',
        tests=dict(test={}),
        runs=[dict(run, config='config.py') for run in runs],
    )
    path = folder / 'mine.yaml'
    path.write_text(json.dumps(study))  # which is YAML as well
    return path


def test_report__of_a_study_yaml_shows_its_best_run(tmp_path):
    results = write_study(tmp_path / 'results')
    path = write_yaml(
        tmp_path,
        # leaves a checkpoint for the others and no record
        dict(name='made', tests={}),
        dict(name='x', seeds=[0, 1]),
        dict(name='y', seeds=[0, 5]),
    )
    write_run(tmp_path / 'dirs' / 'mine' / 'x_seed0', classes=('a', 'b'))
    write_run(tmp_path / 'dirs' / 'mine' / 'x_seed1', classes=('a', 'b'))
    out = tmp_path / 'page.html'
    options = ('--root', tmp_path, '--work-dirs', tmp_path / 'dirs')
    stamp(path, tmp_path)
    done = call_script(TOOL, path, '--out', out, *options)
    assert (done.returncode, done.stderr) == (0, '')
    page = Page(out.read_text())
    assert page.headings[0] == 'mine'
    assert 'One run: x_seed1' in page.headings
    assert 'not recorded yet: y_seed5;' in out.read_text()
    # a record is of its config
    (tmp_path / 'config.py').write_text('a = 2')
    changed = call_script(TOOL, path, '--out', out, *options)
    assert changed.returncode == 2
    assert 'x_seed0.json is of another config' in changed.stderr
    done = call_script(TOOL, results, '--out', out)
    assert done.returncode == 0
    assert Page(out.read_text()).headings[0] == 'results'


def test_report__seeds_whose_same_config_was_spelled_otherwise(tmp_path):
    results = write_study(tmp_path / 'results')
    path = write_yaml(tmp_path, dict(name='x', seeds=[0, 1]))
    stamp(path, tmp_path)
    record = results / 'x_seed1.json'
    older = dict(json.loads(record.read_text()), config='b', options={'a': 1})
    record.write_text(json.dumps(older))
    out = tmp_path / 'page.html'
    done = call_script(
        TOOL, path, '--out', out, '--root', tmp_path, '--work-dirs', tmp_path
    )
    assert (done.returncode, done.stderr) == (0, '')
    rows = [x for x in Page(out.read_text()).cells if x[1:2] == ['test']]
    assert [x[:3] for x in rows] == [['x', 'test', '2']]
    done = call_script(TOOL, results, '--out', out)
    rows = [x for x in Page(out.read_text()).cells if x[1:2] == ['test']]
    assert [x[2] for x in rows] == ['1', '1', '1']  # here nobody knows


def test_report__of_records_in_two_folders(tmp_path):
    """x seed 0 is in both."""
    here = write_study(tmp_path / 'results')
    path = write_yaml(
        tmp_path, dict(name='x', seeds=[0, 1]), dict(name='y', seeds=[0, 5])
    )
    stamp(path, tmp_path)
    there = tmp_path / 'there'
    there.mkdir()
    shutil.copy(here / 'x_seed0.json', there)
    (here / 'x_seed1.json').rename(there / 'x_seed1.json')
    out = tmp_path / 'page.html'
    done = call_script(
        TOOL, path, '--results', here, '--results', there, '--out', out,
        '--root', tmp_path, '--work-dirs', tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, '')
    compared = [x[:3] for x in Page(out.read_text()).cells if x[1] == 'test']
    assert compared == [['x', 'test', '2'], ['y', 'test', '1']]
    assert 'not recorded yet: y_seed5;' in out.read_text()


def test_report__order_of_the_study_its_title_and_records(tmp_path):
    results = write_study(tmp_path / 'results')
    path = write_yaml(tmp_path, dict(name='y'), dict(name='x'))
    stamp(path, tmp_path)
    results = results.rename(tmp_path / 'elsewhere')
    out = tmp_path / 'page.html'
    done = call_script(
        TOOL, path, '--results', results, '--title', 'y against x', '--out',
        out, '--root', tmp_path, '--work-dirs', tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, '')
    page = Page(out.read_text())
    assert page.headings[0] == 'y against x'
    compared = [x[0] for x in page.cells if x[1:3] == ['test', '1']]
    assert compared == ['y', 'x']
    run = write_run(tmp_path / 'run')
    call_script(TOOL, run, '--title', 'line 3', '--out', out)
    assert Page(out.read_text()).headings[0] == 'line 3'


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['.', '--results', '.'], '--results is for the YAML of a study'),
        (['nowhere'], 'nowhere: no such file or folder'),
        (['.'], 'no log, evaluation or record'),
        (['.', '--num-images', '0'], '--num-images must be'),
    ],
)
def test_report__mistakes_are_one_line(
    arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    done = call_script(TOOL, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / 'report.html').exists()


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
    """The page of a run, and of a study that shows this run."""
    folder = tmp_path_factory.mktemp('pages')
    run = write_run(folder / 'run', classes=('a', 'b'))
    call_script(TOOL, run, '--out', folder / 'run.html')
    study = write_study(folder / 'study')
    call_script(TOOL, study, '--run', run, '--out', folder / 'study.html')
    return folder


@pytest.fixture(scope='module')
def chromium(pages):
    if CHROMIUM is None:
        # no package of Python: `make env` cannot install it
        pytest.skip('needs Chromium: install the package chromium')
    with browser(pages / 'profile') as found:
        yield found


@pytest.mark.parametrize('name', ['run', 'study'])
def test_report__in_a_window_of_320_px(chromium, pages, name):
    """Nothing but tables scrolls sideways; nothing is asked of anybody."""
    chromium.open(pages / f'{name}.html', 320, 900)
    assert chromium.ask('innerWidth') == 320
    assert chromium.ask('document.documentElement.scrollWidth') <= 320
    assert chromium.ask('document.images.length') > 0
    addresses = chromium.ask(
        "performance.getEntriesByType('resource').map(x => x.name)"
    )
    assert [x for x in addresses if not x.startswith('data:')] == []
    assert chromium.ask(
        '[...document.images].every(x => x.complete && x.naturalWidth)'
    )


@pytest.mark.parametrize('width', [1280, 320])
@pytest.mark.parametrize('name', ['run', 'study'])
def test_report__is_drawn(chromium, pages, name, width):
    """As wide as the window, and nowhere blank for half of its height."""
    chromium.open(pages / f'{name}.html', width, 800)
    png = np.frombuffer(chromium.screenshot(), np.uint8)
    image = cv2.imdecode(png, cv2.IMREAD_GRAYSCALE)
    assert image.shape[1] == width and len(image) > 800
    written = np.flatnonzero(image.std(1) > 1)  # rows of more than one grey
    gaps = np.diff([0, *written, len(image)])
    assert len(written) > 0.2 * len(image) and gaps.max() < 400


@pytest.mark.parametrize('name', ['run', 'study'])
def test_report__tab_reaches_everything(chromium, pages, name):
    chromium.open(pages / f'{name}.html', 1000, 800)
    # what is folded up is reached once it is open
    while True:
        closed = chromium.ask(
            '(x => { x?.focus(); return Boolean(x); })('
            "document.querySelector('details:not([open])>summary'))"
        )
        if not closed:
            break
        chromium.press('Enter')
        assert chromium.ask('document.activeElement.parentElement.open')
    number = chromium.ask(
        f"""window.all = [...document.querySelectorAll('{REACHABLE}')];
        all.every(x => x.tabIndex >= 0) ? all.length : -1"""
    )
    assert number > 10
    reached = []
    for _ in range(number + 1):
        chromium.press('Tab')
        reached.append(chromium.ask('all.indexOf(document.activeElement)'))
    # once around, from wherever it was: all in their order, then the page
    first = reached.index(0)
    assert reached[first:] + reached[:first] == [*range(number), -1]


def test_report__enter_sorts_and_skips(chromium, pages):
    chromium.open(pages / 'study.html', 1000, 800)
    chromium.press('Tab')
    assert chromium.ask('document.activeElement.className') == 'skip'
    chromium.press('Enter')
    assert chromium.ask('location.hash') == '#content'
    assert chromium.ask('document.activeElement.id') == 'content'
    chromium.ask(
        "document.querySelector('#ablation table thead button').focus()"
    )
    assert chromium.ask('document.activeElement.textContent') == 'run'
    for order, first in (('ascending', 'x'), ('descending', 'y')):
        chromium.press('Enter')
        state, rows = chromium.ask(SORTED)
        assert (state, rows[0]) == (order, first)
    # seeds: of numbers, the largest first; x has two
    chromium.press('Tab')
    chromium.press('Tab')
    assert chromium.ask('document.activeElement.textContent') == 'seeds'
    chromium.press('Enter')
    assert chromium.ask(SORTED) == ['descending', ['x', 'y']]


def test_report__run_shown_is_the_recorded_one(tmp_path):
    """A work_dir may be of another training with the record's name."""
    write_study(tmp_path / 'results')
    path = write_yaml(tmp_path, dict(name='x'))
    stamp(path, tmp_path)
    dirs = tmp_path / 'dirs' / 'mine'
    folder = write_run(dirs / 'x_seed0', classes=('a', 'b'))
    record = json.loads((tmp_path / 'results' / 'x_seed0.json').read_text())
    out = tmp_path / 'page.html'
    options = ('--root', tmp_path, '--work-dirs', dirs.parent)
    for training, shown in ((None, True), ('other', False)):
        started = dict(config_hash=record['config_hash'])
        if training:
            started['training'] = training
        (folder / 'started.json').write_text(json.dumps(started))
        done = call_script(TOOL, path, '--out', out, *options)
        assert (done.returncode, done.stderr) == (0, '')
        headings = Page(out.read_text()).headings
        assert ('One run: x_seed0' in headings) == shown
    done = call_script(TOOL, dirs, '--out', out)
    assert done.returncode == 2
    assert 'holds the runs of a study: name its YAML' in done.stderr


def test_report__beside_another_loggers_lines(tmp_path):
    run = write_run(tmp_path / 'run')
    (run / 'None.log.json').write_text('{"a": 1}\n{"a": 2}\n')
    (run / 'list.json').write_text('{"name": 1, "metrics": [1]}')
    out = tmp_path / 'page.html'
    done = call_script(TOOL, run, '--out', out)
    assert (done.returncode, done.stderr) == (0, '')
    done = call_script(TOOL, run, '--out', tmp_path)
    assert done.returncode == 2
    assert 'is a folder: name a file' in done.stderr


def test_report__printed_open_and_with_its_colours(chromium, pages):
    chromium.open(pages / 'study.html', 1280, 900)
    folded = 'document.querySelectorAll("details:not([open])").length'
    before = chromium.ask(folded)
    assert before > 0
    chromium.ask('dispatchEvent(new Event("beforeprint"))')
    assert chromium.ask(folded) == 0
    chromium.ask('dispatchEvent(new Event("afterprint"))')
    assert chromium.ask(folded) == before
    chromium.call('Emulation.setEmulatedMedia', media='print')
    style = 'getComputedStyle(document.body).printColorAdjust'
    assert chromium.ask(style) == 'exact'
    chromium.call('Emulation.setEmulatedMedia', media='')
