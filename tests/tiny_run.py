"""A YOLOv9-t run of seconds, through the scripts that a user calls."""

import io
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

# For the processes that tests start; pyproject.toml has the first for pytest.
STUBS = str(Path(__file__).parent / 'stubs')
CONFIG = """
_base_ = [
    {configs!r} '/_base_/models/yolov9_t.py',
    {configs!r} '/_base_/default_runtime.py',
]
custom_imports = dict(imports=['dsym'{hook}], allow_failed_imports=False)
load = dict(type='LoadImageFromFile')
boxes = dict(type='mmyolo.LoadAnnotations', with_bbox=True)
resize = dict(type='mmyolo.LetterResize', scale=(64, 64))
pack = dict(
    type='mmdet.PackDetInputs',
    meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
               'pad_param'))
dataset = dict(
    type='SteelSynthDataset', data_root={data_root!r}, num_images=8,
    num_workers=1, pipeline=[load, boxes, resize, pack])
# A detector is tested in the pixels of the original image.
test_dataset = dict(
    dataset, test_mode=True, pipeline=[load, resize, boxes, pack])
model = dict(use_syncbn=False)  # SyncBN has no CPU code
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dataset,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='yolov5_collate'))
val_dataloader = dict(
    batch_size=4, num_workers=0, dataset=test_dataset,
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='DefectMetric')
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
default_hooks = dict(logger=dict(interval=1))
"""


def write_config(folder: Path, configs: Path, hook: str = '') -> Path:
    """Write the config of a run whose results stay in a folder.

    Its data, which are the same for all runs, lie beside the folder.

    Args:
        folder (Path): Where the config goes.
        configs (Path): The configs of dsym that it builds on.
        hook (str): Name of a module to import, which holds a hook of the same
            name. Defaults to '', no hook.

    Returns:
        Path: The config.
    """
    text = CONFIG.format(
        configs=configs.as_posix(),
        data_root=(folder.parent / 'steel_synth').as_posix(),
        hook=f', {hook!r}' if hook else '',
    )
    if hook:
        text += f'custom_hooks = [dict(type={hook!r})]\n'
    path = folder / 'tiny.py'
    path.write_text(text)
    return path


def run(*command, cwd, pythonpath=''):
    """Run a command on one thread with this PYTHONPATH, after the stubs.

    Returns:
        subprocess.CompletedProcess: With ``stdout`` and ``stderr`` as text.
    """
    environment = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': os.pathsep.join(filter(None, [STUBS, str(pythonpath)])),
    }
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )


def call_script(script, *arguments):
    """Run a script in this process, without the seconds of its imports.

    Returns:
        subprocess.CompletedProcess: With ``stdout`` and ``stderr`` as text,
            without what other processes that it started wrote.
    """
    command, status = [str(part) for part in (script, *arguments)], 0
    out, err = io.StringIO(), io.StringIO()
    path = [str(Path(script).parent), *sys.path]
    with patch.multiple(sys, argv=command, path=path), patch.dict(os.environ):
        try:
            with redirect_stdout(out), redirect_stderr(err):
                runpy.run_path(command[0], run_name='__main__')
        except SystemExit as end:
            status = end.code or 0
    if isinstance(status, str):  # as the interpreter does
        err.write(f'{status}\n')
        status = 1
    return subprocess.CompletedProcess(
        command, status, out.getvalue(), err.getvalue()
    )
