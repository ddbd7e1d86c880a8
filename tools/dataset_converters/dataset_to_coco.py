"""Write a data set in NEU-DET, VOC or YOLO-txt form as COCO json.

python tools/dataset_converters/dataset_to_coco.py \
    neu_det data/NEU-DET --split test --out data/neu_det_test.json
python tools/dataset_converters/dataset_to_coco.py \
    yolo data/mine --classes scratch dent --out data/mine.json
"""

import argparse
import sys

from dataset_args import add_dataset_arguments, dataset_from_args
from mmengine.fileio import dump

from dsym.datasets import dataset_to_coco
from dsym.errors import InputError


def main() -> int:
    """Convert one data set; exit status 1 if it cannot be read."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_arguments(parser, ['neu_det', 'voc', 'yolo'])
    parser.add_argument('--out', required=True, help='json file to write')
    args = parser.parse_args()
    try:
        dataset = dataset_from_args(args)
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    coco = dataset_to_coco(dataset, args.data_root)
    dump(coco, args.out, file_format='json')
    print(
        f'{args.out}: {len(coco["images"])} images, '
        f'{len(coco["annotations"])} boxes, '
        f'{len(coco["categories"])} classes'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
