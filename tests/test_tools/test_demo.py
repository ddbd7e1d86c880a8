"""demo.py: killed, called again, called once more."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tiny_run import write_config

ROOT = Path(__file__).parents[2]


def test_killed_demo_goes_on_to_its_figures(tmp_path):
    config = write_config(tmp_path, ROOT / 'configs')
    command = [
        sys.executable,
        str(ROOT / 'tools' / 'demo.py'),
        str(config),
        '--cfg-options',
        'train_cfg.max_epochs=4',
        'default_hooks.checkpoint.interval=1',
    ]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'MPLBACKEND': 'Agg'}
    demo = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob('work_dirs/demo/*/last_checkpoint')):
        assert demo.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(demo.pid, signal.SIGKILL)
    demo.wait()

    def again():
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    out = again()
    assert 'resumed epoch: ' in out
    assert 'resumed epoch: 0' not in out
    assert out.count('[demo] $') == 3  # training, evaluation, figures
    figures = [
        Path(line.split(': ', 1)[1])
        for line in out.splitlines()
        if line.startswith('[demo] figure: ')
    ]
    assert len(figures) >= 3
    assert all((tmp_path / path).stat().st_size > 5000 for path in figures)

    out = again()
    assert '[demo] $' not in out
    assert out.count('done before') == 3
