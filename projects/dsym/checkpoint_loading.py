import re
from typing import List, Tuple

from torch import nn

SIZE_MISMATCH = re.compile(r'size mismatch for (\S+?):')


def load_and_compare(
    model: nn.Module, checkpoint: dict
) -> Tuple[int, List[str], List[str]]:
    """Load a checkpoint into a model and tell how much of it fits.

    Every module loads its own part as in
    :func:`mmengine.runner.checkpoint.load_state_dict`, so renaming done by a
    model, such as mmdet's ``SemiBaseDetector``, counts.

    Args:
        model (nn.Module): The model, not wrapped. Fitting entries are loaded.
        checkpoint (dict): A checkpoint or a state dict.

    Returns:
        tuple[int, list[str], list[str]]: Number of the model's entries
        (without counters of batches), names of those the checkpoint lacks,
        names of those that have another shape there.
    """
    state = {
        re.sub(r'^module\.', '', key): value
        for key, value in checkpoint.get('state_dict', checkpoint).items()
    }
    missing: List[str] = []
    unexpected: List[str] = []
    errors: List[str] = []
    for name, module in model.named_modules():
        module._load_from_state_dict(
            state,
            f'{name}.' if name else '',
            {},
            True,
            missing,
            unexpected,
            errors,
        )
    keys = [k for k in model.state_dict() if 'num_batches_tracked' not in k]
    known = set(keys)
    missing = [key for key in dict.fromkeys(missing) if key in known]
    mismatched = [
        found.group(1)
        for found in map(SIZE_MISMATCH.search, errors)
        if found and found.group(1) in known
    ]
    return len(keys), missing, mismatched
