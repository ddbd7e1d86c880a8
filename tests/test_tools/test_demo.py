"""demo.py: killed, called again, called once more."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tiny_run import call_script, write_config

DEMO = Path(__file__).parents[2] / 'tools' / 'demo.py'
CONFIGS = DEMO.parents[1] / 'configs'


def test_killed_demo_goes_on_to_its_figures(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('MPLBACKEND', 'Agg')
    arguments = [
        str(write_config(tmp_path, CONFIGS)),
        '--cfg-options',
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=3',
        'default_hooks.checkpoint.interval=1',
    ]
    demo = subprocess.Popen(
        [sys.executable, str(DEMO), *arguments],
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
        done = call_script(DEMO, *arguments)
        # of the tools that it calls
        out, err = capfd.readouterr()
        assert done.returncode == 0, done.stdout + done.stderr + out + err
        return done.stdout, out

    out, of_tools = again()
    assert 'resumed epoch: ' in of_tools
    assert 'resumed epoch: 0' not in of_tools
    # training, evaluation, figures, report
    assert out.count('[demo] $') == 4
    figures = [
        Path(line.split(': ', 1)[1])
        for line in out.splitlines()
        if line.startswith('[demo] figure: ')
    ]
    assert len(figures) >= 3
    assert all((tmp_path / path).stat().st_size > 5000 for path in figures)

    out, _ = again()
    assert '[demo] $' not in out
    assert out.count('done before') == 4
