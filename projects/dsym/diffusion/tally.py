import json
from collections import Counter
from pathlib import Path
from typing import List, Sequence

SECONDS = 'seconds.json'  # in the folder of a set


class Tally:
    """Counts of what a gate keeps and refuses while images are painted.

    Args:
        classes (Sequence[str]): Of the data set.

    Attributes:
        images (int): Painted.
        reasons (Counter): Defects by the reason that refused them, or
            ``'kept'``; nothing without a gate.
        painted (Counter): Defects by label.
        kept (Counter): Those that are in an image of the set, by label.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.images = 0
        self.reasons: Counter = Counter()
        self.painted: Counter = Counter()
        self.kept: Counter = Counter()

    def add(self, records: List[dict]) -> None:
        """Count the records of a chunk."""
        self.images += len(records)
        for x in records:
            labels = x['labels']
            self.painted.update(labels)
            self.kept.update(labels[i] for i in x['kept'])
            self.reasons.update(v['reason'] or 'kept' for v in x['verdicts'])

    def by_reason(self) -> str:
        """Such as '220 kept, 24 copy'."""
        return ', '.join(f'{n} {x}' for x, n in self.reasons.most_common())

    def by_class(self) -> str:
        """Such as 'crazing 0 of 53, inclusion 44 of 201'."""
        return ', '.join(
            f'{name} {self.kept[i]} of {self.painted[i]}'
            for i, name in enumerate(self.classes)
        )

    def lost(self) -> List[str]:
        """Classes that were painted and never kept."""
        return [
            name
            for i, name in enumerate(self.classes)
            if self.painted[i] and not self.kept[i]
        ]


def note_seconds(folder: Path, images: int, seconds: float) -> None:
    """Add to a set's ``seconds.json`` how long a call took to paint.

    Args:
        folder (Path): Of the set.
        images (int): Painted by this call.
        seconds (float): Wall time, processes started and images judged
            included.
    """
    new = dict(images=images, seconds=round(seconds, 1))
    calls = [*read_seconds(folder), new]
    target = folder / SECONDS
    temporary = target.with_suffix('.tmp')
    temporary.write_text(json.dumps(calls))
    temporary.replace(target)


def read_seconds(folder: Path) -> List[dict]:
    """``images`` and ``seconds`` of each call; a killed one has none."""
    target = folder / SECONDS
    return json.loads(target.read_text()) if target.is_file() else []
