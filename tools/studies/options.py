"""Overrides as ``--cfg-options`` takes them: not all that YAML has."""

from typing import Any, Dict, List

from mmengine.config import DictAction

from .plan import Run, StudyError


def as_options(options: Dict[str, Any]) -> List[str]:
    """Spell overrides as ``--cfg-options`` takes them.

    It takes no dicts: each of their values is one of its own.

    Raises:
        StudyError: If it would read another value: hash and record are of
            the one that is given here.
    """
    spelled = []
    for key, value in options.items():
        if isinstance(value, dict):
            inside = {f'{key}.{x}': y for x, y in value.items()}
            spelled += as_options(inside)[1:]
        else:
            read = read_option(str(value))
            if read != value:
                raise StudyError(
                    f'{key}: --cfg-options would read {value!r} as {read!r}: '
                    'write that (YAML has 0.001, not 1e-3) or put it into a '
                    'config; a path takes no spaces and commas'
                )
            spelled.append(f'{key}={value}')
    return ['--cfg-options', *spelled] if spelled else []


def read_option(text: str) -> Any:
    """What ``--cfg-options`` makes of a value's text."""
    try:
        return DictAction._parse_iterable(text)
    except AssertionError as error:  # of brackets without a partner
        return error


def check_spelling(run: Run) -> None:
    """Raise before a training for what a later command could not be told.

    Raises:
        StudyError: For an override or a folder.
    """
    try:
        as_options(run.all_options)
        for options in run.tests.values():
            as_options(options)
    except StudyError as error:
        raise StudyError(f'{run.id}: {error}') from None
    folder = str(run.work_dir)
    if read_option(folder) != folder:
        raise StudyError(
            f'{run.id}: its folder would be {folder}, and --cfg-options takes '
            'no spaces, commas and brackets: give other --work-dirs or names'
        )
