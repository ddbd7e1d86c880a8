"""Train a model: MMDetection's train script with dsym loaded.

Usage: python tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]]
    [--amp] [--auto-scale-lr] [--cfg-options KEY=VALUE ...] [--launcher ...]

On a CPU, --amp is bfloat16 (BF16OptimWrapper), also where it is emulated.
"""

from toolbox_script import run

if __name__ == '__main__':
    run('train.py')
