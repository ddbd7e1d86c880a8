import os
from typing import Dict, List

from .synthetic_settings import LabelledSet


def to_coco(
    records: List[dict], labelled: LabelledSet, settings: Dict[str, object]
) -> dict:
    """Put records into COCO's form.

    Args:
        records (list[dict]): Of kept images.
        labelled (LabelledSet): For the classes.
        settings (dict): Of the set.

    Returns:
        dict: COCO's; an image also has ``number``, ``seed``, ``painter``,
        ``background`` and ``decoys`` (boxes as COCO's), an annotation of a
        painted box ``synthetic`` and its verdict.
    """
    images, annotations = [], []
    for i, x in enumerate(records):
        images.append(
            dict(
                id=i,
                file_name=f'{x["number"]:06d}.png',
                width=x['width'],
                height=x['height'],
                number=x['number'],
                seed=settings['seed'],
                painter=settings['painter'],
                background=os.path.basename(x['background']),
                decoys=[
                    [x1, y1, x2 - x1, y2 - y1]
                    for x1, y1, x2, y2 in x['decoys']
                ],
            )
        )
        verdicts = x['verdicts'] or [None] * len(x['boxes'])
        painted = [
            (x['boxes'][j], x['labels'][j], dict(verdict=verdicts[j]))
            for j in x['kept']
        ]
        real = [
            (box, label, dict(iscrowd=int(ignored)))
            for box, label, ignored in zip(
                x['real_boxes'], x['real_labels'], x['real_ignored']
            )
        ]
        for (x1, y1, x2, y2), label, more in [*real, *painted]:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i,
                    category_id=label + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    **{'iscrowd': 0, 'synthetic': 'verdict' in more, **more},
                )
            )
    classes = labelled.metainfo['classes']
    return dict(
        info=dict(description='synthetic defects', settings=settings),
        images=images,
        annotations=annotations,
        categories=[dict(id=i + 1, name=x) for i, x in enumerate(classes)],
    )
