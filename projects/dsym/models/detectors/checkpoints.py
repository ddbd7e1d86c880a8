from typing import Dict

from torch import Tensor


def has_part(state_dict: Dict[str, Tensor], name: str) -> bool:
    """Whether a checkpoint has weights below a name, such as ``teacher.``."""
    return any(key.startswith(name) for key in state_dict)


def double_plain(state_dict: Dict[str, Tensor], prefix: str = '') -> None:
    """Turn a plain detector's checkpoint into one of student and teacher.

    Args:
        state_dict (dict[str, Tensor]): Changed in place.
        prefix (str): Of the detector's names. Defaults to none.
    """
    plain = {
        key: state_dict.pop(key)
        for key in [*state_dict]
        if key.startswith(prefix)
    }
    for part in ('student.', 'teacher.'):
        state_dict.update(
            {
                prefix + part + key[len(prefix) :]: value
                for key, value in plain.items()
            }
        )
