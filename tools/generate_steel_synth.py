"""Generate SteelSynth, or find it in the cache, and print where it is.

The training configs do this by themselves; the tool is for looking at the
images or for making them beforehand.

python tools/generate_steel_synth.py --out data/steel_synth --num-images 600
"""

import argparse
import sys

from dsym.datasets import DatasetError
from dsym.datasets.steel_cache import ensure_steel_synth


def main() -> int:
    """Generate one set."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--out',
        default='data/steel_synth',
        help='cache folder, data_root of the config (default: %(default)s)',
    )
    parser.add_argument(
        '--num-images', type=int, default=240, help='default: %(default)s'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='default: %(default)s'
    )
    parser.add_argument(
        '--workers', type=int, help='processes (default: one a CPU core)'
    )
    args = parser.parse_args()
    try:
        folder = ensure_steel_synth(
            args.out, args.num_images, args.seed, args.workers
        )
    except DatasetError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(folder)
    return 0


if __name__ == '__main__':
    sys.exit(main())
