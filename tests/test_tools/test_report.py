"""report.py: what a user calls, and the page in a browser."""

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from report_files import Page, write_run, write_study
from tiny_run import call_script

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'report.py'
CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')
# Chromium's windows are at least 500 px wide; a frame may be narrower.
FRAME = """<!doctype html><title></title><script>
onmessage = event => document.title = event.data
</script><iframe src="page.html" width="320" height="900"></iframe>"""
PROBE = """<script>
const heads = [...document.querySelectorAll('thead')]
  .filter(head => head.querySelector('button'));
const head = heads[0].rows[0].cells[2];
const body = head.closest('table').tBodies[0];
head.querySelector('button').click();
const first = body.rows[0].cells[0].textContent;
head.querySelector('button').click();
parent.postMessage([
  document.documentElement.scrollWidth <= innerWidth, innerWidth,
  head.getAttribute('aria-sort'), first, body.rows[0].cells[0].textContent,
].join(' '), '*')
</script>"""


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
    (folder / 'chunks' / '00000.json').write_text(json.dumps([record]))
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


def test_report__of_a_study_yaml_shows_its_best_run(tmp_path):
    results = write_study(tmp_path / 'results')
    (tmp_path / 'config.py').write_text('a = 1')
    study = dict(
        results='results',
        tests=dict(test={}),
        runs=[
            # leaves a checkpoint for the others and no record
            dict(name='made', config='config.py', tests={}),
            dict(name='x', config='config.py', seeds=[0, 1]),
            dict(name='y', config='config.py', seeds=[0, 5]),
        ],
    )
    path = tmp_path / 'mine.yaml'
    path.write_text(json.dumps(study))  # which is YAML as well
    write_run(tmp_path / 'dirs' / 'mine' / 'x_seed0', classes=('a', 'b'))
    write_run(tmp_path / 'dirs' / 'mine' / 'x_seed1', classes=('a', 'b'))
    out = tmp_path / 'page.html'
    options = ('--root', tmp_path, '--work-dirs', tmp_path / 'dirs')
    done = call_script(TOOL, path, '--out', out, *options)
    assert (done.returncode, done.stderr) == (0, '')
    page = Page(out.read_text())
    assert page.headings[0] == 'mine'
    assert 'One run: x_seed1' in page.headings
    assert 'not recorded yet: y_seed5;' in out.read_text()
    done = call_script(TOOL, results, '--out', out)
    assert done.returncode == 0
    assert Page(out.read_text()).headings[0] == 'results'


@pytest.mark.parametrize(
    'arguments, message',
    [
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


@pytest.mark.skipif(CHROMIUM is None, reason='needs Chromium')
def test_report__in_a_browser_320_px_wide(tmp_path):
    """Nothing but tables scrolls sideways, and a heading sorts."""
    write_run(tmp_path / 'run', classes=('a', 'b'))
    page = tmp_path / 'page.html'
    call_script(TOOL, tmp_path / 'run', '--out', page)
    page.write_text(page.read_text() + PROBE)
    (tmp_path / 'frame.html').write_text(FRAME)
    done = subprocess.run(
        [
            CHROMIUM,
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--disable-background-networking',
            '--disable-sync',
            '--no-first-run',
            f'--user-data-dir={tmp_path / "profile"}',
            '--virtual-time-budget=5000',
            '--dump-dom',
            (tmp_path / 'frame.html').as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    title = done.stdout.split('<title>')[1].split('</title>')[0]
    # AP50 of a is 100, of b 0; the first click puts the largest first
    assert title == 'true 320 ascending a b'
