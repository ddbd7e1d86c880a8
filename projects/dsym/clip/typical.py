from typing import Sequence

import torch
from torch import Tensor

from .scorer import CLIPScorer

BATCH = 64  # images described at once
DIMS = 24
# Images a direction: fewer, and every image is alone in its own.
PER_DIM = 4


class TypicalImages:
    """How near an image is to the nearest labelled one.

    Descriptors of whole images are whitened by the labelled ones: what these
    vary in counts little, what they have in common counts much. Kept are the
    directions in which they vary most, at most a quarter as many as there are
    images.

    Args:
        described (Tensor): ``(M, D)``, of :meth:`CLIPScorer.describe`, of
            labelled images.
        dims (int): Directions. Defaults to 24.
    """

    def __init__(self, described: Tensor, dims: int = DIMS) -> None:
        described = described.double()
        self.mean = described.mean(0)
        self.scale = described.std(0, correction=0).clamp(min=1e-6)
        rows = (described - self.mean) / self.scale
        _, deviations, directions = torch.linalg.svd(rows, full_matrices=False)
        dims = max(1, min(dims, len(rows) // PER_DIM, len(deviations)))
        deviations = deviations[:dims] / len(rows) ** 0.5
        deviations = deviations.clamp(min=1e-6)
        self.directions = directions[:dims].T / deviations
        self.rows = rows @ self.directions

    @classmethod
    def of(
        cls, scorer: CLIPScorer, samples: Sequence[tuple]
    ) -> 'TypicalImages':
        """Describe labelled images.

        Args:
            scorer (CLIPScorer): The scorer.
            samples (Sequence[tuple]): Of :func:`labelled_samples`.

        Returns:
            TypicalImages: Of them, each once.
        """
        # the copies of a RepeatDataset would be each other's nearest
        paths = list(dict.fromkeys(path for path, *_ in samples))
        parts = [
            scorer.describe(paths[i : i + BATCH])
            for i in range(0, len(paths), BATCH)
        ]
        return cls(torch.cat(parts))

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, described: Tensor) -> Tensor:
        """Compare images.

        Args:
            described (Tensor): ``(B, D)``.

        Returns:
            Tensor: ``(B,)``, 0 for a labelled image; the further from the
            nearest, the lower.
        """
        rows = (described.double() - self.mean) / self.scale
        return -torch.cdist(rows @ self.directions, self.rows).amin(1)

    def own(self) -> Tensor:
        """The same of each labelled image ``(M,)`` and its nearest other."""
        distances = torch.cdist(self.rows, self.rows)
        return -distances.fill_diagonal_(torch.inf).amin(1)

    def least_own(self, share: float) -> float:
        """Below it a share of the labelled images is, by :meth:`own`.

        One image has no other that it could be like: all pass.
        """
        if len(self) < 2:
            return float('-inf')
        return self.own().quantile(share).item()
