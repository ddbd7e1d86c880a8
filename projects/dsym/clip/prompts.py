from dataclasses import asdict, dataclass, field
from typing import Dict, List, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError

SLOT = '{defect_type}'


@dataclass(frozen=True)
class Prompts:
    """What an image can be said to show, in groups of texts.

    The groups are, in this order: a defect of every class; a badly placed
    crop of every class, if ``misplaced`` is given; and no defect, if
    ``normal`` is given. A group's embedding is the mean of its texts'.

    Args:
        classes (Sequence[str]): Class names in label order.
        defect (Sequence[str]): Texts with ``{defect_type}``. Defaults to that
            of the paper (eq 17).
        misplaced (Sequence[str]): Texts with ``{defect_type}``. Defaults to
            none; an adapted model has them.
        normal (Sequence[str]): Texts. Defaults to none, as in the paper.
        words (dict[str, str]): What a class is called in a text. Defaults to
            its name with spaces.
        center (bool): Subtract what the embeddings of all groups have in
            common. In a model from scratch they are nearly the same, with
            cosines of 0.8 to 1, and gradients small. Defaults to False.

    Raises:
        InputError: If a class has no word or a text no place for it.
    """

    classes: Tuple[str, ...]
    defect: Sequence[str] = (f'A photo with {SLOT} defect',)
    misplaced: Sequence[str] = ()
    normal: Sequence[str] = ()
    words: Dict[str, str] = field(default_factory=dict)
    center: bool = False

    def __post_init__(self) -> None:
        missing = [x for x in self.classes if not self.words.get(x, x).strip()]
        unknown = sorted(set(self.words) - set(self.classes))
        if self.words and not missing:
            missing = [x for x in self.classes if x not in self.words]
        if missing or unknown:
            raise InputError(
                'prompts.words: '
                + (
                    f'no word for class {missing[0]!r}'
                    if missing
                    else f'{unknown[0]!r} is no class'
                )
                + f': give one for each of {", ".join(self.classes)}'
            )
        for name in ('defect', 'misplaced', 'normal'):
            given = getattr(self, name)
            if isinstance(given, str):
                raise InputError(
                    f'prompts.{name} is one text: write [{given!r}]'
                )
        for name in ('defect', 'misplaced'):
            for text in getattr(self, name):
                if SLOT not in text:
                    raise InputError(
                        f'prompts.{name}: {text!r} has no place for the '
                        f'class: write {SLOT} there'
                    )
        if not self.defect:
            raise InputError('prompts.defect is empty: give a text')

    @property
    def groups(self) -> List[List[str]]:
        """The texts of every group."""
        groups = []
        for templates in (self.defect, self.misplaced):
            for name in self.classes if templates else ():
                spaced = name.replace('_', ' ').replace('-', ' ')
                word = self.words.get(name, spaced)
                groups.append([x.replace(SLOT, word) for x in templates])
        if self.normal:
            groups.append([*self.normal])
        return groups

    def to_dict(self) -> dict:
        """Arguments that make the same prompts."""
        return asdict(self)


def encode_prompts(
    model: nn.Module, tokens: Sequence[Tensor], center: bool = False
) -> Tensor:
    """Embed groups of tokenized texts.

    Args:
        model (nn.Module): Of open_clip.
        tokens (Sequence[Tensor]): Of each group ``(T, context)``.
        center (bool): As in :class:`Prompts`. Defaults to False.

    Returns:
        Tensor: ``(groups, D)``, of length 1.
    """
    texts = F.normalize(model.encode_text(torch.cat([*tokens])).float(), dim=1)
    means = [x.mean(0) for x in texts.split([len(x) for x in tokens])]
    groups = F.normalize(torch.stack(means), dim=1)
    if center:
        groups = F.normalize(groups - groups.mean(0), dim=1)
    return groups
