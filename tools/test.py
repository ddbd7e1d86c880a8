"""Evaluate a checkpoint: MMDetection's test script with dsym loaded.

Usage: python tools/test.py CONFIG CHECKPOINT [--work-dir DIR] [--out PKL]
    [--show] [--show-dir DIR] [--tta] [--cfg-options KEY=VALUE ...]
    [--launcher ...]
"""

from toolbox_script import run

if __name__ == '__main__':
    run('test.py')
