"""The list of runs that a study's YAML names."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import yaml
from mmengine.config import Config

from dsym.errors import InputError
from dsym.provenance import config_hash

RUN_KEYS = {
    'name', 'config', 'options', 'seeds', 'tests', 'trainer', 'note',
    'minutes',
}  # fmt: skip
TRAINERS = ('dsym', 'official')
MACHINE_KEYS = {'data_root', 'num_workers', 'progress'}
CHECKOUT = str(Path(__file__).resolve().parents[2])


class StudyError(InputError):
    """One line that names the study, the key and the remedy."""


class Run(NamedTuple):
    """One training with its evaluations.

    Attributes:
        name (str): What the table calls it; runs that differ in the seed only
            share it.
        config (Path): Config of the detector.
        options (dict): Overrides by dotted key.
        seed (int): Random seed.
        tests (dict): Overrides of an evaluation by its name.
        trainer (str): ``dsym`` for ``tools/train.py``, ``official`` for the
            official code on the same plan.
        note (str): What else matters.
        results (Path): Folder of the records.
        work_dir (Path): Folder of the checkpoints and logs.
        minutes (float, optional): Training ends when its steps have taken so
            long. Defaults to None, with its last epoch.
    """

    name: str
    config: Path
    options: Dict[str, Any]
    seed: int
    tests: Dict[str, Dict[str, Any]]
    trainer: str
    note: str
    results: Path
    work_dir: Path
    minutes: Optional[float] = None

    @property
    def id(self) -> str:
        """Name and seed."""
        return f'{self.name}_seed{self.seed}'

    @property
    def record(self) -> Path:
        """Where its JSON goes."""
        return self.results / f'{self.id}.json'

    @property
    def all_options(self) -> Dict[str, Any]:
        """Overrides of the training, those of seed and minutes included."""
        options = {**self.options, 'randomness.seed': self.seed}
        if self.minutes is not None:
            options['default_hooks.stop_after.type'] = 'StopAfterMinutesHook'
            options['default_hooks.stop_after.minutes'] = self.minutes
            loop = Config.fromfile(self.config).train_cfg.type
            if loop == 'EpochBasedTrainLoop':
                options['train_cfg.type'] = 'PartialEpochTrainLoop'
        return options

    def load_config(self) -> Config:
        """Load the config with its overrides."""
        config = Config.fromfile(self.config)
        config.merge_from_dict(self.all_options)
        return config

    def hash(self) -> str:
        """Hash what decides the result: trainer, config, overrides and seed.

        Places and numbers of workers are left out, so a run is the same run
        on another machine.
        """
        config = _without_machine(self.load_config().to_dict())
        return config_hash(Config(dict(config, trainer=self.trainer)))


def _without_machine(part: Any) -> Any:
    """Leave out of a config, however deep, what depends on the machine."""
    if isinstance(part, dict):
        return {
            key: _without_machine(value)
            for key, value in part.items()
            if key not in MACHINE_KEYS
        }
    if isinstance(part, (list, tuple)):
        return [_without_machine(value) for value in part]
    if isinstance(part, str):  # '{{fileDirname}}' of a config
        return part.replace(CHECKOUT, '')
    return part


def _check_keys(what: str, given: Dict[str, Any], known: set) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise StudyError(
            f'{what}: unknown key {unknown[0]!r}; it takes '
            f'{", ".join(sorted(known))}'
        )


def load_study(
    path: Path, root: Path, work_dirs: Path, results: Optional[Path] = None
) -> List[Run]:
    """Read a study.

    Args:
        path (Path): YAML with ``results`` (folder of the records), ``tests``
            (overrides by name of evaluation) and ``runs``: a list of ``name``,
            ``config`` and optionally ``options``, ``seeds``, ``tests``,
            ``trainer``, ``minutes`` and ``note``. A run with ``tests: {}``
            only makes something for those after it and leaves no record.
        root (Path): What the paths in it are relative to.
        work_dirs (Path): Parent of the runs' folders.
        results (Path, optional): Folder of the records. Defaults to None, the
            one that the study names.

    Returns:
        list[Run]: One a seed, in the order of the file.

    Raises:
        StudyError: If a key, file or name is wrong.
    """
    if not path.is_file():
        raise StudyError(f'{path}: no such study; see configs/studies/')
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise StudyError(
            f'{path} is no YAML: {" ".join(str(error).split())}'
        ) from None
    if not isinstance(content, dict):
        raise StudyError(f'{path}: must have the keys results, tests, runs')
    _check_keys(str(path), content, {'results', 'tests', 'runs'})
    runs: List[Run] = []
    for item in content.get('runs') or []:
        what = f'{path}, run {item.get("name")!r}'
        _check_keys(what, item, RUN_KEYS)
        for key in ('name', 'config'):
            if key not in item:
                raise StudyError(f'{what}: the key {key} is missing')
        config = root / item['config']
        if not config.is_file():
            raise StudyError(f'{what}: there is no config {config}')
        trainer = item.get('trainer', 'dsym')
        if trainer not in TRAINERS:
            raise StudyError(
                f'{what}: trainer {trainer!r} must be one of {TRAINERS}'
            )
        minutes = item.get('minutes')
        if minutes is not None and not (
            isinstance(minutes, (int, float)) and minutes > 0
        ):
            raise StudyError(f'{what}: minutes {minutes!r}: give more than 0')
        for seed in item.get('seeds', [0]):
            runs.append(
                Run(
                    name=item['name'],
                    config=config,
                    options=item.get('options') or {},
                    seed=seed,
                    tests=item.get('tests', content.get('tests') or {}),
                    trainer=trainer,
                    note=item.get('note', ''),
                    results=results
                    or root / content.get('results', 'results'),
                    work_dir=work_dirs
                    / path.stem
                    / f'{item["name"]}_seed{seed}',
                    minutes=minutes,
                )
            )
    ids = [run.id for run in runs]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise StudyError(f'{path}: two runs are called {twice[0]}')
    if not runs:
        raise StudyError(f'{path}: the list runs is empty')
    return runs
