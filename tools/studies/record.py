"""One JSON of a finished run, out of its work_dir."""

import math
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from json_file import write_json

from dsym.engine.stop_after_minutes_hook import STATE as BUDGET
from dsym.provenance import describe_machine
from dsym.visualization import (
    load_json,
    read_scalars,
    training_minutes,
)
from dsym.visualization.report.inputs import (
    AUDIT,
    PSEUDO_LABELS,
    read_audit,
)

from .plan import Run, StudyError
from .resume import last_checkpoint


def newest(folder: Path, pattern: str) -> Path:
    """Find the newest matching file.

    Raises:
        FileNotFoundError: If there is none.
    """
    files = sorted(folder.glob(pattern))
    if not files:
        raise FileNotFoundError(f'{folder}: no {pattern}; evaluate again')
    return files[-1]


def training_figures(run: Run) -> Dict[str, Any]:
    """Epochs, steps, minutes and losses of the training loop.

    Minutes are those of all steps, loader included, by whatever sessions and
    beside whatever neighbours; start-up, evaluation and pauses do not count.
    A run with a budget of them has ``budget``: its ``minutes``, the
    ``planned_steps`` and whether it ``stopped`` before these.
    """
    if run.trainer == 'official':
        plan = load_json(run.work_dir / 'official.json')
        return dict(
            epochs=plan['epochs'],
            steps=plan['steps'],
            minutes=round(plan['minutes'], 1),
            **budget_of(plan.get('budget'), plan['steps']),
        )
    meta = torch.load(last_checkpoint(run.work_dir), map_location='cpu')
    steps = meta['meta']['iter']
    # a killed session may have logged later ones, which are lost
    rows = [x for x in logged_steps(run.work_dir) if x['step'] <= steps]
    if rows and not math.isfinite(rows[-1]['loss']):
        raise StudyError(
            f'{run.id}: its last loss is {rows[-1]["loss"]}, so its figures '
            'are of no detector: lower optim_wrapper.optimizer.lr and remove '
            f'{run.work_dir} to train again'
        )
    budget = meta.get(BUDGET)
    if budget:
        minutes = budget['spent']
    elif rows:
        # of the steps after the last line, what the others took
        minutes = training_minutes(rows) * steps / rows[-1]['step']
    else:
        raise StudyError(
            f'{run.id}: none of its {steps} steps was logged: set '
            f'default_hooks.logger.interval to {steps} or less and remove '
            f'{run.work_dir} to train again'
        )
    return dict(
        # of a loop that counts epochs
        epochs=rows[-1].get('epoch') if rows else meta['meta']['epoch'],
        steps=steps,
        minutes=round(minutes, 1),
        **budget_of(budget, steps),
        # of the last logged steps of each epoch
        losses=[round(loss, 1) for loss in epoch_losses(rows)],
    )


def logged_steps(work_dir: Path) -> List[Dict[str, Any]]:
    """Lines of training steps; a short training may have none."""
    if not any(work_dir.glob('*/vis_data/scalars.json')):
        return []
    return [row for row in read_scalars(work_dir) if 'loss' in row]


def budget_of(
    budget: Optional[Dict[str, Any]], steps: int
) -> Dict[str, Dict[str, Any]]:
    """What a record says of a budget of minutes; nothing without one."""
    if not budget:
        return {}
    planned = budget['planned_steps']
    return dict(
        budget=dict(
            minutes=budget['minutes'],
            planned_steps=planned,
            stopped=steps < planned,
        )
    )


def split_of(dataset: Dict[str, Any]) -> Optional[str]:
    """Name the split that a data set or what it wraps reads.

    Returns:
        str, optional: Several are joined by ' + '; None if there is none.
    """
    inner = dataset.get('dataset') or dataset.get('datasets') or []
    parts = inner if isinstance(inner, (list, tuple)) else [inner]
    names = [dataset.get('split'), *map(split_of, parts)]
    return ' + '.join(dict.fromkeys(filter(None, names))) or None


def epoch_losses(steps: List[Dict[str, Any]]) -> List[float]:
    """The loss that was logged last in each epoch, or each time."""
    last = {row.get('epoch', row['step']): row['loss'] for row in steps}
    return [last[epoch] for epoch in sorted(last)]


def evaluation_figures(test_dir: Path) -> Dict[str, float]:
    """``DefectMetric``'s figures of one evaluation, without its prefix.

    Raises:
        StudyError: If it has none.
    """
    scores = load_json(newest(test_dir, '[0-9]*/[0-9]*.json'))
    for key in scores:
        prefix, _, name = key.rpartition('/')
        if name == 'mAP_50':
            return {
                key[len(prefix) + 1 :]: round(value, 4)
                for key, value in scores.items()
                if key.startswith(f'{prefix}/')
            }
    raise StudyError(
        f'{test_dir} has no figures of DefectMetric: set '
        "test_evaluator=dict(type='DefectMetric') and remove the folder"
    )


def write_record(run: Run, started: Dict[str, Any]) -> None:
    """Write a run's JSON, whole or not at all, and before it its audit.

    That of its pseudo-labels, if it has one, becomes ``<run>_audit.json``
    beside the record: the report reads both. Tests of this very run that its
    JSON has and the study no longer names stay.

    Args:
        run (Run): A run whose training and evaluations are finished.
        started (dict): What was noted when it began: ``config_hash``,
            ``commit``, ``training``, which no other one has, and ``lists``.
    """
    config = run.load_config()
    before = load_json(run.record) if run.record.exists() else {}
    if before.get('config_hash') != started.get('config_hash'):
        before = {}
    result = dict(
        name=run.name,
        config=run.config.stem,
        options=run.options,
        trainer=run.trainer,
        **started,
        seed=run.seed,
        train_split=split_of(config.train_dataloader.dataset),
        **training_figures(run),
        machine=describe_machine(),
        note=run.note,
        # what an evaluation was is not in the hash of its training
        tests={**before.get('tests', {}), **run.tests},
        metrics={
            **before.get('metrics', {}),
            **{
                name: evaluation_figures(run.work_dir / f'test_{name}')
                for name in run.tests
            },
        },
    )
    run.record.parent.mkdir(parents=True, exist_ok=True)
    audit = run.work_dir / PSEUDO_LABELS
    if audit.is_file():
        write_json(run.results / f'{run.id}{AUDIT}', read_audit(audit))
    write_json(run.record, result)
