"""What a run or a study has left on disk."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from ...errors import InputError, MissingFileError
from ..curves import load_json, read_scalars

CURVES, TRUTH, PREDICTIONS = '.curves.json', '.gt.json', '.bbox.json'
PSEUDO_LABELS, AUDIT = 'pseudo_labels.json', '_audit.json'


@dataclass
class Evaluation:
    """Files of one evaluation by ``DefectMetric``.

    Attributes:
        name (str): Their prefix below the work_dir.
        curves (dict): Content of ``*.curves.json``.
        truth (dict, optional): Of ``*.gt.json``.
        detections (list, optional): Of ``*.bbox.json``.
    """

    name: str
    curves: Dict[str, Any]
    truth: Optional[Dict[str, Any]] = None
    detections: Optional[List[dict]] = None


@dataclass
class RunFiles:
    """Files of one run.

    Attributes:
        work_dir (Path): Where they are.
        config (str): Name of the config that lies there; may be empty.
        scalars (list[dict]): Logged lines.
        figures (dict[str, dict]): Figures of every evaluation by its name.
        evaluation (Evaluation, optional): The one that is shown.
        pseudo_labels (list[dict]): Entries of the audit.
    """

    work_dir: Path
    config: str = ''
    scalars: List[dict] = field(default_factory=list)
    figures: Dict[str, dict] = field(default_factory=dict)
    evaluation: Optional[Evaluation] = None
    pseudo_labels: List[dict] = field(default_factory=list)


@dataclass
class StudyFiles:
    """Records of a study.

    Attributes:
        name (str): What the page calls it.
        records (list[dict]): One a run and seed.
        audits (dict[str, list]): Entries of pseudo-label audits by run.
        unrecorded (list[str]): Ids of planned runs without a record.
    """

    name: str
    records: List[dict]
    audits: Dict[str, List[dict]] = field(default_factory=dict)
    unrecorded: List[str] = field(default_factory=list)


def checked(
    path: Path, is_right: Callable[[Any], Any], what: str, remedy: str
) -> Any:
    """Read a json and make sure that it is what its name says.

    Args:
        path (Path): The file.
        is_right (callable): Tells whether the content is usable; may raise
            a KeyError, TypeError or IndexError where it is not.
        what (str): What it should be.
        remedy (str): What to do.

    Raises:
        InputError: If it is something else.
    """
    content = load_json(path)
    try:
        if is_right(content):
            return content
    except (KeyError, TypeError, IndexError, AttributeError):
        pass
    raise InputError(f'{path} is no {what}: {remedy}')


def is_record(content: Any) -> bool:
    """Tell a record of ``tools/study.py`` from another json."""
    keys = {'name', 'seed', 'metrics', 'minutes'}
    return (
        isinstance(content, dict)
        and keys <= set(content)
        and isinstance(content['metrics'], dict)
        and all('mAP_50' in x for x in content['metrics'].values())
    )


def read_audit(path: Path) -> List[dict]:
    """Read the entries of ``PseudoLabelAuditHook``.

    Args:
        path (Path): Its file.

    Returns:
        list[dict]: One an epoch.

    Raises:
        InputError: If the file is something else.
    """
    return checked(
        path,
        lambda entries: all(
            isinstance(entry['epoch'], int)
            and all(
                {'boxes', 'precision', 'recall', 'classes'} <= set(figures)
                for figures in entry['stages'].values()
            )
            for entry in entries
        ),
        'list of pseudo-label figures',
        'move it away, or train again with PseudoLabelAuditHook',
    )


def find_evaluations(work_dir: Path) -> List[Tuple[str, Path]]:
    """Find evaluations, the newest last.

    Args:
        work_dir (Path): Folder of a run.

    Returns:
        list[tuple[str, Path]]: Name and ``*.curves.json``.
    """
    files = sorted(work_dir.rglob(f'*{CURVES}'))
    files.sort(key=lambda path: path.stat().st_mtime)
    return [
        (path.relative_to(work_dir).as_posix()[: -len(CURVES)], path)
        for path in files
    ]


def read_evaluation(name: str, path: Path) -> Evaluation:
    """Read the files of one evaluation.

    Args:
        name (str): What it is called.
        path (Path): Its ``*.curves.json``; predictions lie beside.

    Raises:
        InputError: If a file is something else.
    """
    again = 'evaluate again with DefectMetric to write it anew'
    curves = checked(
        path,
        lambda x: {'classes', 'counts', 'figures', 'yolo', 'coco'} <= set(x),
        'file of curves',
        again,
    )
    evaluation = Evaluation(name, curves)
    truth = path.with_name(path.name[: -len(CURVES)] + TRUTH)
    found = path.with_name(path.name[: -len(CURVES)] + PREDICTIONS)
    if truth.is_file() and found.is_file():
        evaluation.truth = checked(
            truth,
            lambda x: x['images'] and x['categories'] and 'annotations' in x,
            'COCO data set with images',
            again,
        )
        evaluation.detections = checked(
            found,
            lambda x: all({'image_id', 'bbox', 'score'} <= set(b) for b in x),
            'list of COCO results',
            again,
        )
    return evaluation


def read_run(work_dir: Path, evaluation: Optional[str] = None) -> RunFiles:
    """Read what a run has left.

    Args:
        work_dir (Path): Its folder.
        evaluation (str, optional): Name of the evaluation to show. Defaults
            to None, the newest.

    Returns:
        RunFiles: What is there.

    Raises:
        InputError: If there is nothing, no such evaluation, or a damaged
            file.
    """
    run = RunFiles(work_dir)
    configs = sorted(work_dir.glob('*.py'))
    run.config = configs[0].stem if configs else ''
    if any(work_dir.glob('*/vis_data/scalars.json')):
        run.scalars = read_scalars(work_dir)
    if (work_dir / PSEUDO_LABELS).is_file():
        run.pseudo_labels = read_audit(work_dir / PSEUDO_LABELS)
    found = dict(find_evaluations(work_dir))
    if evaluation is not None and evaluation not in found:
        names = ', '.join(found) or 'none'
        raise InputError(
            f'{work_dir} has no evaluation {evaluation}: name one of those '
            f'there are ({names}) with --evaluation'
        )
    for name, path in found.items():
        run.figures[name] = read_evaluation_figures(path)
    if found:
        name = evaluation or [*found][-1]
        run.evaluation = read_evaluation(name, found[name])
    if not (run.scalars or run.pseudo_labels or found):
        raise InputError(
            f'{work_dir}: no log, evaluation or record of a study; name the '
            'work_dir of a run, a study YAML or its folder of results'
        )
    return run


def read_evaluation_figures(path: Path) -> Dict[str, Any]:
    """Read the overall figures of an evaluation."""
    return checked(
        path,
        lambda x: {'mAP_50', 'f1', 'best_thr'} <= set(x['figures']),
        'file of curves',
        'evaluate again with DefectMetric to write it anew',
    )['figures']


def read_results(folder: Path) -> StudyFiles:
    """Read a folder of records.

    Args:
        folder (Path): With the JSON of each run.

    Returns:
        StudyFiles: All records and audits in it.
    """
    files = sorted(folder.glob('*.json'))
    audits = [path for path in files if path.name.endswith(AUDIT)]
    contents = [load_json(path) for path in files if path not in audits]
    return StudyFiles(
        folder.name,
        [content for content in contents if is_record(content)],
        {path.name[: -len(AUDIT)]: read_audit(path) for path in audits},
    )


def is_results_folder(folder: Path) -> bool:
    """Tell a folder of records from a work_dir.

    That may hold any file, such as the lines of JSON of another logger.
    """
    for path in folder.glob('*.json'):
        with suppress(ValueError):
            if is_record(load_json(path)):
                return True
    return False


def read_synthetic(folder: Path) -> Dict[str, Any]:
    """Read the largest set of a folder of synthetic images.

    Args:
        folder (Path): As ``DiffusionAugment`` leaves it, with
            ``annotations_N.json``, ``images`` and ``chunks``.

    Returns:
        dict: ``coco``, and ``records`` of all images that were painted for
        it, by their number; a chunk's last images may have been for nothing.

    Raises:
        MissingFileError: If there is no such set.
        InputError: If a file is damaged.
    """
    files = sorted(
        folder.glob('annotations_*.json'),
        key=lambda path: (len(path.name), path.name),
    )
    if not files:
        raise MissingFileError(
            f'{folder} holds no annotations_*.json: name the folder that '
            'DiffusionAugment printed, not the one above it'
        )
    remedy = 'remove the folder to make the images anew'
    coco = checked(
        files[-1],
        lambda x: x['images'] and all('number' in y for y in x['images']),
        'set of synthetic images',
        remedy,
    )
    last = max(x['number'] for x in coco['images'])
    records = [
        record
        for path in sorted(folder.glob('chunks/*.json'))
        for record in checked(
            path,
            lambda x: all({'number', 'background'} <= set(y) for y in x),
            'chunk of synthetic images',
            remedy,
        )
        if record['number'] <= last
    ]
    return dict(
        coco=coco,
        records={record['number']: record for record in records},
        folder=folder,
    )
