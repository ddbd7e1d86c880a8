"""The list of runs that a study's YAML names."""

import hashlib
import re
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Tuple,
)

import yaml
from mmengine.config import Config

from dsym.datasets.split_lists import published_splits
from dsym.errors import InputError
from dsym.provenance import config_hash

RUN_KEYS = {
    'name', 'config', 'options', 'seeds', 'tests', 'trainer', 'note',
    'minutes',
}  # fmt: skip
TRAINERS = ('dsym', 'official')
# what no result depends on; hooks that speak or stop among them
MACHINE_KEYS = {'data_root', 'num_workers', 'progress', 'finite_loss'}
LIST_KEYS = {'split', 'ann_file'}  # may name a file of one's own
TTA_KEYS = {'tta_model', 'tta_pipeline'}  # of tools/test.py --tta alone
KINDS = {dict: 'a mapping', list: 'a list', str: 'a text'}
STARTED = 'started.json'  # in a work_dir
CHECKOUT = str(Path(__file__).resolve().parents[2])


class StudyError(InputError):
    """One line that names the study, the key and the remedy."""


class Run(NamedTuple):
    """One training with its evaluations.

    Attributes:
        name (str): What the table calls it; runs that differ in the seed only
            share it.
        config (Path): Config of the detector.
        options (dict): Overrides by dotted key; in their texts ``{seed}``
            stands for the seed.
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
        options = _of_seed(self.options, self.seed)
        options['randomness.seed'] = self.seed
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

    def lists(self) -> Dict[str, str]:
        """Digests of its lists of images that are files.

        Returns:
            dict[str, str]: By their dotted key in the config.
        """
        return dict(_image_lists(self.load_config().to_dict()))

    def hash(self, lists: Optional[Dict[str, str]] = None) -> str:
        """Hash what decides the result: trainer, config, overrides and seed.

        Places and numbers of workers are left out, so a run is the same run
        on another machine; but a data root among the overrides is another
        data set. Of lists of images that are files, the content counts.

        Args:
            lists (dict[str, str], optional): What :meth:`lists` gave where
                they were there. Defaults to None.

        Returns:
            str: 12 hexadecimal digits.
        """
        config = self.load_config().to_dict()
        found = {**(lists or {}), **dict(_image_lists(config))}
        config = _without_machine(config, found)
        content = {
            key: value for key, value in config.items() if key not in TTA_KEYS
        }
        content['trainer'] = self.trainer
        roots = _data_roots(_of_seed(self.options, self.seed))
        if roots:
            content['data_roots'] = roots
        return config_hash(Config(content))


def _data_roots(options: Any, key: str = '') -> Dict[str, Any]:
    """Data roots that overrides set, by dotted key."""
    if key.rpartition('.')[2] == 'data_root':
        return {key: options}
    parts: Any = ()
    if isinstance(options, dict):
        parts = options.items()
    elif isinstance(options, list):
        parts = enumerate(options)
    roots: Dict[str, Any] = {}
    for name, value in parts:
        roots.update(_data_roots(value, f'{key}.{name}' if key else str(name)))
    return roots


def _inside(part: Any) -> Iterable[Tuple[Any, Any]]:
    """Keys and values of a part of a config."""
    if isinstance(part, dict):
        return part.items()
    return enumerate(part) if isinstance(part, (list, tuple)) else ()


def _image_lists(part: Any, place: str = '') -> Iterator[Tuple[str, str]]:
    """Place and digest of each list of images that is a file."""
    for key, value in _inside(part):
        if not (key in LIST_KEYS and isinstance(value, str)):
            yield from _image_lists(value, f'{place}.{key}')
        elif value not in published_splits():
            root = part.get('data_root') or ''
            for path in (Path(value), Path(root, value)):
                if path.is_file():
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    yield f'{place}.{key}', digest
                    break


def _without_machine(part: Any, lists: Dict[str, str], place: str = '') -> Any:
    """Leave out of a config, however deep, what depends on the machine."""
    if isinstance(part, str):  # '{{fileDirname}}' of a config
        return lists.get(place, part.replace(CHECKOUT, ''))
    kept = {
        key: _without_machine(value, lists, f'{place}.{key}')
        for key, value in _inside(part)
        if not (isinstance(part, dict) and key in MACHINE_KEYS)
    }
    if isinstance(part, dict):
        return kept
    return [*kept.values()] if isinstance(part, (list, tuple)) else part


def _check_keys(what: str, given: Dict[str, Any], known: set) -> None:
    unknown = sorted(map(str, set(given) - known))
    if unknown:
        raise StudyError(
            f'{what}: unknown key {unknown[0]!r}; it takes '
            f'{", ".join(sorted(known))}'
        )


def _check_type(what: str, key: str, value: Any, kind: type) -> None:
    """Refuse a value that is not what its key takes."""
    if not isinstance(value, kind):
        raise StudyError(f'{what}: {key} {value!r}: give {KINDS[kind]}')


def _check_tests(what: str, tests: Any) -> None:
    """Refuse tests that are not overrides by a name."""
    _check_type(what, 'tests', tests, dict)
    for name, options in tests.items():
        _check_name(what, 'test', name)
        _check_type(what, f'tests.{name}', options, dict)


def _check_name(what: str, key: str, name: Any) -> None:
    """Refuse a name that cannot be a part of a file's name."""
    if not (isinstance(name, str) and re.fullmatch(r'[^/\\\s]+', name)):
        raise StudyError(
            f'{what}: {key} {name!r}: give a name without / and spaces'
        )


def _check_run(what: str, item: Dict[str, Any]) -> None:
    """Refuse a run with a wrong key or value."""
    _check_keys(what, item, RUN_KEYS)
    for key in ('name', 'config'):
        if key not in item:
            raise StudyError(f'{what}: the key {key} is missing')
    _check_name(what, 'name', item['name'])
    _check_type(what, 'config', item['config'], str)
    _check_type(what, 'options', item.get('options') or {}, dict)
    _check_type(what, 'note', item.get('note', ''), str)
    seeds = item.get('seeds', [0])
    if not (
        isinstance(seeds, list)
        and seeds
        and all(type(seed) is int for seed in seeds)
    ):
        raise StudyError(
            f'{what}: seeds {seeds!r}: give a list of integers, as in [0, 1]'
        )
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


def _of_seed(part: Any, seed: int) -> Any:
    """Put the seed in place of ``{seed}`` in the texts of overrides."""
    if isinstance(part, dict):
        return {key: _of_seed(value, seed) for key, value in part.items()}
    if isinstance(part, list):
        return [_of_seed(value, seed) for value in part]
    return part.replace('{seed}', str(seed)) if isinstance(part, str) else part


def _read_study(path: Path) -> Dict[str, Any]:
    """Read a study's YAML and check what is common to its runs."""
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
    _check_type(str(path), 'results', content.get('results', ''), str)
    if not content.get('runs'):
        raise StudyError(f'{path}: the list runs is empty')
    _check_type(str(path), 'runs', content['runs'], list)
    return content


def load_study(
    path: Path, root: Path, work_dirs: Path, results: Optional[Path] = None
) -> List[Run]:
    """Read a study.

    Args:
        path (Path): YAML with ``results`` (folder of the records), ``tests``
            (overrides by name of evaluation) and ``runs``: a list of ``name``,
            ``config`` and optionally ``options``, ``seeds``, ``tests``,
            ``trainer``, ``minutes`` and ``note``. In the texts of ``options``
            ``{seed}`` stands for the seed. A run with ``tests: {}``
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
    content = _read_study(path)
    runs: List[Run] = []
    for item in content['runs']:
        _check_type(str(path), 'run', item, dict)
        what = f'{path}, run {item.get("name")!r}'
        _check_run(what, item)
        config = root / item['config']
        if not config.is_file():
            raise StudyError(f'{what}: there is no config {config}')
        tests = item.get('tests', content.get('tests') or {})
        _check_tests(what, tests)
        for seed in item.get('seeds', [0]):
            runs.append(
                Run(
                    name=item['name'],
                    config=config,
                    options=item.get('options') or {},
                    seed=seed,
                    tests=tests,
                    trainer=item.get('trainer', 'dsym'),
                    note=item.get('note', ''),
                    results=results
                    or root / content.get('results', 'results'),
                    work_dir=work_dirs
                    / path.stem
                    / f'{item["name"]}_seed{seed}',
                    minutes=item.get('minutes'),
                )
            )
    ids = [run.id for run in runs]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise StudyError(f'{path}: two runs are called {twice[0]}')
    return runs


def check_record(run: Run, record: Any, source: Path) -> None:
    """Raise unless a record is of this very run.

    Args:
        run (Run): The run.
        record (Any): JSON of a record.
        source (Path): Its file.

    Raises:
        StudyError: If it is of another config or no record, or has a test of
            a name with other settings.
    """
    if not (isinstance(record, dict) and 'config_hash' in record):
        raise StudyError(
            f'{source} has no config_hash, so it is no record of this study: '
            'move it away to train the run'
        )
    now = run.hash(record.get('lists'))
    if record['config_hash'] != now:
        raise StudyError(
            f'{source} is of another config '
            f'({record["config_hash"]}, now {now}): rename the run or '
            'remove it'
        )
    before = record.get('tests', {})  # older records have none
    for name, options in run.tests.items():
        if before.get(name, options) != options:
            raise StudyError(
                f'{source}: the test {name} was made with '
                f'{before[name]}, now it is {options}: give it another name '
                'to evaluate again'
            )
