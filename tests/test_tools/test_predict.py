"""predict.py and export_onnx.py as a user calls them."""

import csv
import json
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_detector import (
    picture,
    write_detector,
    write_pictures,
    write_video,
)
from tiny_run import call_script

from dsym.inference import build_predictor, resolve_model
from dsym.weights import DEFAULT_DETECTOR

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
THR = ('--score-thr', '0')


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return write_detector(tmp_path_factory.mktemp('tiny') / 'run')


def predict(tiny, out, *args):
    return call_script(
        TOOLS / 'predict.py', *args, '--model', *tiny, '--out-dir', out, *THR
    )


def rows_of(out):
    with open(out / 'predictions.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_folder_with_a_corrupt_image__status_and_files(tiny, tmp_path):
    folder = write_pictures(tmp_path / 'in', ['a.png', 'sub/b.png', 'c.png'])
    whole = (folder / 'c.png').read_bytes()
    (folder / 'c.png').write_bytes(whole[: len(whole) // 2])
    out = tmp_path / 'out'
    done = predict(tiny, out, folder, '--batch-size', '2')
    assert done.returncode == 1
    assert '10 detections in 2 images' in done.stdout
    assert 'Predicting: 100%' in done.stderr and '3/3' in done.stderr
    assert '1 images could not be used' in done.stderr
    rows = rows_of(out)
    assert [x['image'] for x in rows] == ['a.png'] * 5 + ['sub/b.png'] * 5
    (found,) = build_predictor(resolve_model(*tiny), 0.0)([picture()])
    read = [[float(x[k]) for k in ('x1', 'y1', 'x2', 'y2')] for x in rows[:5]]
    np.testing.assert_allclose(read, found.bboxes, atol=0.01)
    content = json.loads((out / 'predictions.json').read_text())
    assert len(content['images']) == 2 and len(content['annotations']) == 10
    assert content['info']['image_root'] == str(folder)
    drawn = sorted(x.name for x in (out / 'drawn').rglob('*.png'))
    assert drawn == ['a.png', 'b.png']


def test_images__only_what_is_asked_for(tiny, tmp_path):
    folder = write_pictures(tmp_path, ['a.png', 'b.png'])
    out = tmp_path / 'out'
    done = predict(
        tiny, out, folder / 'b.png', '--format', 'csv', '--no-images'
    )
    assert done.returncode == 0, done.stderr
    assert [x.name for x in out.iterdir()] == ['predictions.csv']
    assert {x['image'] for x in rows_of(out)} == {'b.png'}
    for image, said in (('a', 0), ('b', 1)):
        done = predict(tiny, out, folder / f'{image}.png')
        assert ('holds 1 drawings of an earlier call' in done.stdout) == said
    assert {x.name for x in (out / 'drawn').iterdir()} == {'a.png', 'b.png'}
    assert {x['image'] for x in rows_of(out)} == {'b.png'}


def test_video__frames_times_and_drawings(tiny, tmp_path):
    video = write_video(tmp_path / 'v.mp4', frames=6, fps=5)
    out = tmp_path / 'out'
    assert predict(tiny, out, video).returncode == 0
    rows = rows_of(out)
    assert sorted({int(x['frame']) for x in rows}) == list(range(6))
    assert {x['time'] for x in rows if x['frame'] == '3'} == {'0.600'}
    drawn = cv2.VideoCapture(str(out / 'v_drawn.mp4'))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    content = json.loads((out / 'predictions.json').read_text())
    assert [x['frame'] for x in content['images']] == list(range(6))


def test_video_that_is_cut_off__status(tiny, tmp_path):
    video = tmp_path / 'v.avi'
    stream = cv2.VideoWriter(
        str(video), cv2.VideoWriter_fourcc(*'MJPG'), 5.0, (64, 48)
    )
    for seed in range(16):
        stream.write(picture(64, 48, seed))
    stream.release()
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    out = tmp_path / 'out'
    done = predict(tiny, out, video, '--no-images')
    content = json.loads((out / 'predictions.json').read_text())
    read = len(content['images'])
    assert 0 < read < 16 - 5
    assert done.returncode == 1
    assert f'{16 - read} images could not be used' in done.stderr


def test_ctrl_c__what_was_done_is_complete(tiny, tmp_path):
    """The second image does not come before the signal: it is a pipe."""
    out = tmp_path / 'out'
    write_pictures(tmp_path, ['a.png'])
    os.mkfifo(tmp_path / 'b.png')

    def act():
        end = time.monotonic() + 60
        while time.monotonic() < end:
            file = out / 'predictions.csv'
            if file.exists() and 'a.png' in file.read_text():
                break
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)
        (tmp_path / 'b.png').write_bytes(b'no image')

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    images = tmp_path / 'a.png', tmp_path / 'b.png'
    done = predict(tiny, out, *images, '--batch-size', '1')
    thread.join(20)
    assert done.returncode == 130
    assert '5 detections in 1 images' in done.stdout
    assert 'could not be used' not in done.stderr
    assert [x['image'] for x in rows_of(out)] == ['a.png'] * 5
    content = json.loads((out / 'predictions.json').read_text())
    assert [x['file_name'] for x in content['images']] == ['a.png']
    assert len(content['annotations']) == 5
    assert [x.name for x in (out / 'drawn').iterdir()] == ['a.png']


def watch(tiny, folder, out, until, *names):
    """Watch until a condition holds; add pictures when it has begun."""

    def act():
        end = time.monotonic() + 20
        while time.monotonic() < end and not (out / 'journal.jsonl').exists():
            time.sleep(0.02)
        write_pictures(folder, names)
        while time.monotonic() < end and not until():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=act)
    thread.start()
    done = predict(tiny, out, folder, '--watch', '0.05')
    thread.join()
    return done


def test_watched_folder__late_file_once_and_resumes(tiny, tmp_path):
    folder, out = tmp_path / 'in', tmp_path / 'in/out'
    write_pictures(folder, ['a.png'])

    def seen(*names):
        text = (out / 'journal.jsonl').read_text()
        return all(x in text for x in names)

    done = watch(
        tiny, folder, out, lambda: seen('a.png', 'late.png'), 'late.png'
    )
    assert done.returncode == 0, done.stderr
    assert sorted(x['image'] for x in rows_of(out)) == (
        ['a.png'] * 5 + ['late.png'] * 5
    )
    (folder / 'bad.png').write_bytes(b'no image')
    done = watch(
        tiny, folder, out, lambda: seen('bad.png', 'new.png'), 'new.png'
    )
    assert done.returncode == 1
    names = sorted({x['image'] for x in rows_of(out)})
    assert names == ['a.png', 'late.png', 'new.png']
    assert len(rows_of(out)) == 15
    content = json.loads((out / 'predictions.json').read_text())
    assert [x['id'] for x in content['images']] == [1, 2, 3]
    assert len(content['annotations']) == 15

    done = predict(tiny, out, folder)
    assert done.returncode == 2
    assert 'holds the results of a watched folder' in done.stderr


def test_errors__one_line(tiny, tmp_path):
    done = call_script(
        TOOLS / 'predict.py', tmp_path / 'no.png', '--model', *tiny
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith('predict.py: error:') and 'no.png' in line
    folder = write_pictures(tmp_path / 'in', ['a.png'])
    for more in ([], ['--watch', '0.05']):
        done = predict(tiny, folder, folder, *more)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert f'--out-dir {folder}: its drawings' in line
    assert [x.name for x in folder.iterdir()] == ['a.png']
    for more in ([], ['--watch', '0.05']):
        done = predict(tiny, '/proc/nothing', folder, *more)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert '--out-dir /proc/nothing: nothing can be written' in line


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (['--score-thr', '25'], '--score-thr 25.0: give 0 to 1'),
        (['--score-thr', 'nan'], '--score-thr nan: give 0 to 1'),
        (['--out-dir', str(TOOLS / 'predict.py')], 'is a file: give a folder'),
    ],
)
def test_options__mistakes_before_anything_is_loaded(more, message):
    done = call_script(TOOLS / 'predict.py', 'x.png', *more)
    assert done.returncode == 2 and message in done.stderr


def test_watched_folder__a_mistyped_name_leaves_nothing(tiny, tmp_path):
    """Or the results of the right one would be refused beside its journal."""
    out = tmp_path / 'out'
    done = predict(tiny, out, tmp_path / 'no', '--watch', '0.05')
    assert done.returncode == 2
    assert '--watch needs an existing folder' in done.stderr
    assert not out.exists()


def test_help_of_export_onnx__predict_takes_its_command(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    text = runpy.run_path(str(TOOLS / 'export_onnx.py'))['__doc__']
    (line,) = [x for x in text.splitlines() if 'predict.py' in x]
    monkeypatch.setattr(sys, 'argv', line.split()[1:])
    args = runpy.run_path(str(TOOLS / 'predict.py'))['parse_args']()
    assert (args.input, args.model, args.onnx) == (
        ['INPUT'], ['CONFIG', 'CHECKPOINT'], 'model.onnx',
    )  # fmt: skip


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (['x.py'], 'x.py: without a checkpoint; give CONFIG CHECKPOINT, or'),
        (['dsym://no'], 'dsym://no: the package has no such weights'),
        ([DEFAULT_DETECTOR, 'x.pth'], 'no such config'),
    ],
)
def test_export_onnx__wrong_detector_is_one_line(given, message, tmp_path):
    file = tmp_path / 'x.onnx'
    done = call_script(TOOLS / 'export_onnx.py', *given, '--out', file)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line
    assert not file.exists()


def test_export_onnx__packaged_detector_by_name(tmp_path):
    onnx = pytest.importorskip('onnx')
    file = tmp_path / 'x.onnx'
    done = call_script(
        TOOLS / 'export_onnx.py', DEFAULT_DETECTOR, '--out', file,
        '--size', '64',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    graph = onnx.load(file).graph
    shapes = {
        x.name: [d.dim_value for d in x.type.tensor_type.shape.dim]
        for x in (*graph.input, *graph.output)
    }
    # 8 x 8, 4 x 4 and 2 x 2 places at strides 8, 16 and 32; six classes
    assert shapes == dict(
        images=[1, 3, 64, 64], boxes=[1, 84, 4], scores=[1, 84, 6]
    )


def test_export_onnx__predicts_and_times(tiny, tmp_path):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    file = tmp_path / 'x.onnx'
    done = call_script(
        TOOLS / 'export_onnx.py', *tiny, '--out', file, '--size', '64',
        '--latency', '2',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / 'x.latency.json').read_text())
    rows = [(x['backend'], x['batch']) for x in report['rows']]
    ways = 'pytorch fp32', 'pytorch deploy', 'onnxruntime'
    assert rows == [(way, batch) for batch in (1, 8) for way in ways]
    for row in report['rows']:
        assert 0 < row['median_ms'] <= row['p95_ms']
        assert f'{row["median_ms"]:.1f} ms' in done.stdout
        assert row['boxes'] == 5  # max_per_img: NMS has had work
    write_pictures(tmp_path, ['a.png'])
    done = predict(tiny, tmp_path / 'out', tmp_path / 'a.png', '--onnx', file)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(tmp_path / 'out')) == 5
