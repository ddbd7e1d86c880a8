"""Command-line arguments that name a data set, shared by the tools here."""

import argparse
from typing import List

from mmengine.registry import DATASETS

import dsym  # noqa: F401  registers the data sets
from dsym.errors import InputError

FORMATS = {
    'neu_det': 'NEUDETDataset',
    'voc': 'DefectVOCDataset',
    'yolo': 'YOLOTxtDataset',
    'coco': 'VerifiedCocoDataset',
}
# The formats that an option has a meaning for.
APPLIES = {
    'split': ('neu_det',),
    'ann_file': ('voc', 'yolo', 'coco'),
    'img': ('voc', 'yolo', 'coco'),
    'ann': ('voc', 'yolo'),
    'classes': ('voc', 'yolo', 'coco'),
    'one_based': ('neu_det', 'voc'),
    'difficult': ('neu_det', 'voc'),
    'unlabeled': ('neu_det', 'voc', 'yolo'),
}


def add_dataset_arguments(
    parser: argparse.ArgumentParser, formats: List[str]
) -> None:
    """Add the arguments.

    Args:
        parser (ArgumentParser): The tool's parser.
        formats (list[str]): The keys of ``FORMATS`` that the tool reads.
    """
    parser.add_argument('format', choices=formats, help='form of the data set')
    parser.add_argument('data_root', help='folder of the data set')
    parser.add_argument(
        '--split',
        help='neu_det only: published list or text file (default: all images)',
    )
    parser.add_argument(
        '--ann-file',
        default='',
        help='voc, yolo: text file with one image a line (default: all '
        'images); coco: the json file; relative to data_root',
    )
    parser.add_argument('--img', help='folder of images below data_root')
    parser.add_argument('--ann', help='folder of annotations below data_root')
    parser.add_argument(
        '--classes', nargs='+', help='class names in label order'
    )
    parser.add_argument(
        '--one-based',
        action='store_true',
        help='neu_det, voc: subtract 1 from all coordinates',
    )
    parser.add_argument(
        '--difficult',
        choices=['keep', 'ignore', 'drop'],
        help='neu_det, voc: boxes marked difficult (default: keep)',
    )
    parser.add_argument(
        '--unlabeled',
        action='store_true',
        help='neu_det, voc, yolo: images only, without annotations',
    )


def dataset_from_args(args: argparse.Namespace, **kwargs):
    """Build the data set that the arguments name, for reading all of it.

    Args:
        args (Namespace): What the parser gave.
        **kwargs: Further arguments of the data set.

    Returns:
        DefectDataset or VerifiedCocoDataset: In test mode, so that no
        ``filter_cfg`` drops anything.

    Raises:
        InputError: If an option has no meaning for the format, or coco has
            no file.
    """
    for option, formats in APPLIES.items():
        given = getattr(args, option)
        if args.format not in formats and given not in ('', None, False):
            raise InputError(
                f'--{option.replace("_", "-")} has no meaning for '
                f'{args.format} (only for {", ".join(formats)}): leave it out'
            )
    if args.format == 'coco' and not args.ann_file:
        raise InputError(
            'coco needs --ann-file FILE.json, relative to data_root'
        )
    cfg = {
        'type': FORMATS[args.format],
        'data_root': args.data_root,
        'test_mode': True,
        **kwargs,
    }
    prefix = {
        key: value
        for key, value in (('img', args.img), ('ann', args.ann))
        if value is not None
    }
    if args.format == 'neu_det':
        cfg['split'] = args.split
    else:
        cfg['ann_file'] = args.ann_file
        cfg['data_prefix'] = prefix
        if args.classes:
            cfg['metainfo'] = {'classes': tuple(args.classes)}
    if args.format == 'coco':
        cfg['data_prefix'] = {'img': args.img or ''}
    else:
        cfg['unlabeled'] = args.unlabeled
    if args.format in ('neu_det', 'voc'):
        cfg.update(
            one_based=args.one_based, difficult=args.difficult or 'keep'
        )
    return DATASETS.build(cfg)
