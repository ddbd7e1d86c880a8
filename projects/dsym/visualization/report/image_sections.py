"""Sections with images: best and worst detections, real beside synthetic."""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional

from ...evaluation.image_verdicts import ImageVerdict, rank_images
from ..detections import read_image, spread
from .inputs import RunFiles
from .markup import (
    Missing,
    Part,
    Section,
    count,
    escape,
    paragraph,
    percent,
    table,
)
from .pictures import Mark, color_legend, list_boxes, pair_figure, picture
from .run_sections import NEEDS_TEST, command, verdicts_of

RULE = (
    'Images are ranked by F1 = 2 TP / (2 TP + FP + FN), where TP are true '
    'detections, FP false ones and FN missed defects at IoU 0.5 and at a '
    'confidence of {:.3f}. Best: the highest F1, of equal ones those with '
    'more defects. Worst: the lowest F1, of equal ones those with more '
    'errors. Images without defects and detections are left out.'
)


def detections_section(
    run: RunFiles, num_images: int, img_root: Optional[Path]
) -> Part:
    """Best and worst detections beside the truth.

    Args:
        run (RunFiles): The run.
        num_images (int): Images of each kind.
        img_root (Path, optional): Folder of the images, if moved.

    Returns:
        Section or Missing: The part of the page.
    """
    title = 'Best and worst detections'
    if run.evaluation is None or run.evaluation.truth is None:
        return Missing(title, NEEDS_TEST.format(command(run.work_dir)))
    chosen = rank_images(verdicts_of(run.evaluation), num_images)
    categories = run.evaluation.truth['categories']
    body = paragraph(RULE.format(run.evaluation.curves['yolo']['best_thr']))
    body += color_legend(
        [cat['name'] for cat in categories],
        {'found, or true': False, 'missed, or false': True},
    )
    for name, verdicts in zip(('Best', 'Worst'), chosen):
        try:
            pairs = [detection_pair(x, categories, img_root) for x in verdicts]
        except (FileNotFoundError, ValueError) as error:
            return Missing(
                title,
                f'The test images cannot be shown ({escape(error)}); the '
                'option <code>--img-root FOLDER</code> names their folder.',
            )
        body += f'<h3>{name}</h3>'
        body += f'<div class="gallery">{"".join(pairs)}</div>'
        if not pairs:
            body += paragraph(f'There is no image for this list ({name}).')
    return Section('detections', title, body)


def detection_pair(
    verdict: ImageVerdict,
    categories: List[Dict[str, Any]],
    img_root: Optional[Path],
) -> str:
    """One image, with its truth and with its detections."""
    pixels = read_image(verdict.image, img_root)
    names = {cat['id']: cat['name'] for cat in categories}
    places = {cat['id']: i for i, cat in enumerate(categories)}
    truth = [
        Mark(box['bbox'], places[box['category_id']], dashed=not found)
        for box, found in zip(verdict.truth, verdict.found)
    ]
    found = [
        Mark(
            box['bbox'],
            places[box['category_id']],
            dashed=not true,
            label=f'{box["score"]:.2f}',
        )
        for box, true in zip(verdict.detections, verdict.true)
    ]
    in_truth = list_boxes(
        verdict.truth, names, ['' if x else 'missed' for x in verdict.found]
    )
    detected = list_boxes(
        verdict.detections, names, ['' if x else 'false' for x in verdict.true]
    )
    stem = Path(verdict.image['file_name']).stem
    return pair_figure(
        picture(pixels, truth, 'truth', f'{stem}; truth: {in_truth}'),
        picture(pixels, found, 'detected', f'{stem}; detected: {detected}'),
        f'{stem}: F1 {verdict.f1:.2f}; {verdict.true_positives} found, '
        f'{verdict.missed} missed, {verdict.false_positives} false. '
        f'Truth: {in_truth}. Detected: {detected}.',
        pixels.shape,
    )


def synthetic_section(
    synthetic: Optional[Dict[str, Any]],
    num_images: int,
    img_root: Optional[Path],
) -> Part:
    """Real images beside what was painted on them.

    Args:
        synthetic (dict, optional): Of
            :func:`~dsym.visualization.report.inputs.read_synthetic`.
        num_images (int): Pairs to show, spread over those of the set with
            something painted.
        img_root (Path, optional): Folder of the real images, if moved.

    Returns:
        Section or Missing: The part of the page.
    """
    title = 'Real beside synthetic images'
    if synthetic is None:
        return Missing(
            title,
            'No synthetic images were named; the option <code>--synthetic '
            'FOLDER</code> takes a folder that a training with '
            'DiffusionAugment has filled.',
        )
    coco, records = synthetic['coco'], synthetic['records']
    categories = coco['categories']
    names = [cat['name'] for cat in categories]
    body = paragraph(
        f'{len(coco["images"]):,} synthetic images of '
        f'<code>{escape(synthetic["folder"])}</code>. Solid boxes were '
        'painted, dashed ones are real and stayed.'
    )
    body += gate_table(records.values(), names)
    body += color_legend(names, {'painted': False, 'real, kept': True})
    shown = painted_images(coco)
    if len(shown) < len(coco['images']):
        body += paragraph(
            f'On {len(shown):,} of them a painted defect stayed; the pairs '
            'are of those.',
            'note',
        )
    pairs = []
    for i in spread(len(shown), num_images):
        image = shown[i]
        try:
            pairs.append(
                synthetic_pair(
                    image, synthetic, records.get(image['number']), img_root
                )
            )
        except (FileNotFoundError, ValueError) as error:
            return Missing(
                title,
                f'An image cannot be shown ({escape(error)}); the option '
                '<code>--img-root FOLDER</code> names the folder of the real '
                'ones.',
            )
    body += f'<div class="gallery">{"".join(pairs)}</div>'
    return Section('synthetic', title, body)


def painted_images(coco: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Images of a synthetic set with at least one painted defect."""
    painted = {x['image_id'] for x in coco['annotations'] if x['synthetic']}
    return [image for image in coco['images'] if image['id'] in painted]


def gate_table(records: Any, names: List[str]) -> str:
    """How many painted defects the gate kept, by class."""
    painted, kept, reasons = Counter(), Counter(), Counter()
    for record in records:
        painted.update(record['labels'])
        kept.update(record['labels'][i] for i in record['kept'])
        reasons.update(
            verdict['reason']
            for verdict in record['verdicts']
            if verdict['reason']
        )
    if not painted:
        return ''
    rows = [
        [
            name,
            count(painted[i]),
            count(kept[i]),
            percent(kept[i] / painted[i] if painted[i] else None, share=True),
        ]
        for i, name in enumerate(names)
    ]
    total = [
        'all',
        count(sum(painted.values())),
        count(sum(kept.values())),
        percent(sum(kept.values()) / sum(painted.values()), share=True),
    ]
    body = table(
        'Painted defects, and those the quality gate kept',
        ['class', 'painted', 'kept', 'kept, %'],
        rows,
        total,
    )
    if reasons:
        words = ', '.join(f'{x} ({n:,})' for x, n in reasons.most_common())
        body += paragraph(f'Refused for: {escape(words)}.', 'note')
    return body


def synthetic_pair(
    image: Dict[str, Any],
    synthetic: Dict[str, Any],
    record: Optional[Dict[str, Any]],
    img_root: Optional[Path],
) -> str:
    """A synthetic image beside the real one that it was painted on."""
    coco = synthetic['coco']
    background = record['background'] if record else image['background']
    real = read_image({'file_name': background}, img_root)
    painted = read_image(image, synthetic['folder'] / 'images')
    places = {cat['id']: i for i, cat in enumerate(coco['categories'])}
    names = {cat['id']: cat['name'] for cat in coco['categories']}
    boxes = [x for x in coco['annotations'] if x['image_id'] == image['id']]
    words = list_boxes(
        boxes, names, ['painted' if x['synthetic'] else 'real' for x in boxes]
    )
    marks = [
        Mark(x['bbox'], places[x['category_id']], dashed=not x['synthetic'])
        for x in boxes
    ]
    stem = Path(background).stem
    return pair_figure(
        picture(real, [], 'real', f'real image {stem}'),
        picture(painted, marks, 'synthetic', f'on {stem}: {words}'),
        f'{image["file_name"]} on {stem}: {words}.',
        painted.shape,
    )
