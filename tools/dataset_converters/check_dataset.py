"""Report every malformed file, box or class of a data set.

The exit status is 1 if there are errors, so it can guard a script.

python tools/dataset_converters/check_dataset.py neu_det data/NEU-DET
python tools/dataset_converters/check_dataset.py \
    coco data/mine --ann-file train.json --img train --out report.json
"""

import argparse
import sys
from io import TextIOWrapper

from dataset_args import FORMATS, add_dataset_arguments, dataset_from_args
from mmengine.fileio import dump

from dsym.datasets import check_dataset, format_report
from dsym.errors import InputError


def main() -> int:
    """Check one data set."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_arguments(parser, list(FORMATS))
    parser.add_argument('--out', help='json file for the whole report')
    args = parser.parse_args()
    try:
        dataset = dataset_from_args(args, lazy_init=True)
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    report = check_dataset(dataset)
    # names of files may be no text of this terminal
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')
    if args.out:
        dump(report, args.out, file_format='json', indent=2)
    print(format_report(report))
    return 1 if report['num_errors'] else 0


if __name__ == '__main__':
    sys.exit(main())
