"""Which sections the page of a run and of a study has."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from .image_sections import detections_section, synthetic_section
from .inputs import RunFiles, StudyFiles, read_synthetic
from .markup import Missing, Part, Section, escape, paragraph
from .page import render_page
from .pseudo_section import pseudo_section
from .run_sections import (
    classes_section,
    confusion_section,
    curves_section,
    result_body,
    run_summary,
    training_section,
)
from .study_sections import (
    ablation_section,
    study_classes_section,
    study_summary,
    study_training_section,
)


class Pictures(NamedTuple):
    """Which images the page shows.

    Attributes:
        num_images (int): Of each gallery.
        img_root (Path, optional): Folder of the real images, if moved.
        synthetic (Path, optional): Folder of synthetic images.
    """

    num_images: int = 6
    img_root: Optional[Path] = None
    synthetic: Optional[Path] = None


def evaluation_parts(run: RunFiles, pictures: Pictures) -> List[Part]:
    """Sections about one evaluation."""
    return [
        curves_section(run),
        classes_section(run),
        confusion_section(run),
        detections_section(run, pictures.num_images, pictures.img_root),
    ]


def synthetic_part(pictures: Pictures) -> Part:
    """Gallery of synthetic images."""
    content: Optional[Dict[str, Any]] = None
    if pictures.synthetic is not None:
        content = read_synthetic(pictures.synthetic)
    return synthetic_section(content, pictures.num_images, pictures.img_root)


def run_report(
    run: RunFiles, pictures: Pictures, title: Optional[str] = None
) -> str:
    """Write the page of a run.

    Args:
        run (RunFiles): What it left.
        pictures (Pictures): Which images to show.
        title (str, optional): What the page calls it. Defaults to None, the
            name of its folder.

    Returns:
        str: HTML.
    """
    *evaluated, detections = evaluation_parts(run, pictures)
    parts = [
        run_summary(run),
        Missing(
            'Runs compared',
            'This is one run; <code>python tools/report.py STUDY.yaml</code> '
            'compares the runs of a study.',
        ),
        *evaluated,
        training_section(run),
        pseudo_section({run.work_dir.name: run.pseudo_labels}),
        synthetic_part(pictures),
        detections,
    ]
    title = title or run.work_dir.resolve().name
    return render_page(title, 'Defect detector', parts)


def study_report(
    study: StudyFiles, run: Optional[RunFiles], pictures: Pictures
) -> str:
    """Write the page of a study.

    Args:
        study (StudyFiles): Its records.
        run (RunFiles, optional): A run to show in detail.
        pictures (Pictures): Which images to show.

    Returns:
        str: HTML.
    """
    parts = [
        study_summary(study),
        ablation_section(study),
        study_classes_section(study),
        study_training_section(study),
    ]
    audits = dict(study.audits)
    name = None
    if run is None:
        parts.append(
            Missing(
                'Curves, confusion and images of one run',
                'A study keeps figures only; the option <code>--run '
                'WORK_DIR</code> shows a run whose work_dir is still there.',
            )
        )
    else:
        name = run.work_dir.name
        if run.pseudo_labels:
            audits.setdefault(name, run.pseudo_labels)
        note = paragraph(
            'The curves, classes, confusion, training and images below are '
            f'of this run, {escape(run.work_dir)}.'
        )
        body = result_body(run) if run.evaluation else ''
        parts.append(Section('run', f'One run: {name}', note + body))
        *evaluated, detections = evaluation_parts(run, pictures)
        parts += [*evaluated, training_section(run)]
    parts += [pseudo_section(audits, name), synthetic_part(pictures)]
    if run is not None:
        parts.append(detections)
    return render_page(study.name, 'Study of defect detectors', parts)
