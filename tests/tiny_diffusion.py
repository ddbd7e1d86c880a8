"""A labelled set of small steel images, and a diffusion model for it."""

import json

import cv2
import numpy as np
import torch

from dsym.datasets import VerifiedCocoDataset
from dsym.diffusion import ConditionalDiffusion, save_diffusion
from dsym.diffusion.synthetic_settings import LabelledSet

UNET = dict(
    sample_size=16,
    block_out_channels=(8, 16),
    layers_per_block=1,
    down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D'),
    up_block_types=('CrossAttnUpBlock2D', 'UpBlock2D'),
    attention_head_dim=4,
    norm_num_groups=4,
)
ENCODER = dict(type='DefectConditionEncoder', num_classes=6, dims=16)
CLASSES = ('dark-spot', 'bright-line')
HEIGHT, WIDTH = 64, 80
# per image: (label, box); image 3 shows both classes
DEFECTS = (
    ((0, (8, 10, 24, 26)), (0, (50, 30, 68, 46))),
    ((1, (10, 40, 50, 50)),),
    ((0, (30, 8, 46, 22)),),
    ((1, (4, 4, 44, 16)), (0, (52, 36, 70, 56))),
)


def write_steel(folder, defects=DEFECTS):
    """Write noisy images of ever brighter steel with textured defects.

    Args:
        folder (Path): Where, made if it does not exist.
        defects (Sequence): Of each image pairs of label and box.

    Returns:
        LabelledSet: The images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    infos = []
    for i, of_image in enumerate(defects):
        rng = np.random.default_rng(i)
        pixels = rng.normal(100 + 15 * i, 6, (HEIGHT, WIDTH))
        for label, (x1, y1, x2, y2) in of_image:
            # coarse, so that no two look alike at 32 x 32 px
            rough = rng.normal(0, 20, (6, 6))
            rough = cv2.resize(rough, (x2 - x1, y2 - y1))
            pixels[y1:y2, x1:x2] += rough + (60 if label else -60)
        path = str(folder / f'{i}.png')
        grey = pixels.round().clip(0, 255).astype(np.uint8)
        assert cv2.imwrite(path, cv2.merge([grey] * 3))
        instances = [
            dict(bbox=[*map(float, box)], bbox_label=label, ignore_flag=0)
            for label, box in of_image
        ]
        infos.append(
            dict(
                img_path=path, height=HEIGHT, width=WIDTH, instances=instances
            )
        )
    return LabelledSet(dict(classes=[*CLASSES]), infos)


def coco_steel(folder, **options):
    """The same as a COCO data set.

    Args:
        folder (Path): Where.
        **options: Of ``VerifiedCocoDataset``.

    Returns:
        dict: Config of the data set.
    """
    labelled = write_steel(folder)
    images, annotations = [], []
    for i, info in enumerate(labelled.infos):
        images.append(
            dict(id=i, file_name=f'{i}.png', width=WIDTH, height=HEIGHT)
        )
        for x in info['instances']:
            x1, y1, x2, y2 = x['bbox']
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=i,
                    category_id=x['bbox_label'],
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                )
            )
    categories = [dict(id=i, name=x) for i, x in enumerate(CLASSES)]
    content = dict(
        images=images, annotations=annotations, categories=categories
    )
    (folder / 'annotations.json').write_text(json.dumps(content))
    return dict(
        type=VerifiedCocoDataset.__name__,
        ann_file=str(folder / 'annotations.json'),
        data_prefix=dict(img=str(folder)),
        metainfo=dict(classes=CLASSES),
        **options,
    )


def tiny_diffusion(num_classes=6, seed=0, **options):
    """Random weights, always the same; see ``ConditionalDiffusion``."""
    torch.manual_seed(seed)
    encoder = dict(ENCODER, num_classes=num_classes)
    return ConditionalDiffusion(UNET, encoder, **options)


def saved_diffusion(folder, classes=CLASSES, **options):
    """Save a model of windows of 16 px; its folder as text."""
    model = tiny_diffusion(len(classes), **options)
    save_diffusion(model, folder, classes, context=(1.2, 2.0), min_side=16)
    return str(folder)
