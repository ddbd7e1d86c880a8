from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from .examples import read_image
from .layout import DefectLayout, Plan
from .painters import CLEAN, Job, Painter
from .windows import Window, cut_window, paste, place_window


class Synthetic(NamedTuple):
    """A synthetic image.

    Attributes:
        number (int): Which one it is.
        plan (Plan): What it shows.
        background (np.ndarray): ``(H, W, C)``, uint8, before its defects and
            decoys.
        windows (list[Window]): Painted, one a box.
        decoys (list[Window]): Painted, one a decoy.
    """

    number: int
    plan: Plan
    background: np.ndarray
    windows: List[Window]
    decoys: List[Window]

    def image(
        self, chosen: Sequence[int], decoys: Sequence[int] = ()
    ) -> np.ndarray:
        """The image with some of its defects and decoys.

        Args:
            chosen (Sequence[int]): Which of ``plan.boxes``.
            decoys (Sequence[int]): Which of ``plan.decoys``. Defaults to none.

        Returns:
            np.ndarray: ``(H, W, C)``; outside of these boxes it is the
            background.
        """
        result = self.background
        for windows, boxes, some in (
            (self.decoys, self.plan.decoys, decoys),
            (self.windows, self.plan.boxes, chosen),
        ):
            for i in some:
                result = paste(
                    result, windows[i], boxes[i : i + 1], self.plan.replaces
                )
        return result


class Synthesizer:
    """Paints images as a layout says.

    Image ``n`` of a seed is the same whatever others are made with it, but
    for the last bits of arithmetic in batches of another size.

    Args:
        layout (DefectLayout): What is painted where.
        painter (Painter): What paints.
        seed (int): Of all images. Defaults to 0.
    """

    def __init__(
        self, layout: DefectLayout, painter: Painter, seed: int = 0
    ) -> None:
        self.layout = layout
        self.painter = painter
        self.seed = seed

    def __call__(self, numbers: Sequence[int]) -> List[Synthetic]:
        """Make images.

        Args:
            numbers (Sequence[int]): Which ones.

        Returns:
            list[Synthetic]: One for each.
        """
        rngs = [np.random.default_rng([self.seed, x]) for x in numbers]
        plans = [
            self.layout.draw(rng, number, self.seed)
            for rng, number in zip(rngs, numbers)
        ]
        images = [read_image(x.path, self.painter.channels) for x in plans]
        truth = [x.truth for x in plans]
        # decoys have the edges of what they are to be taken for
        replaces = [x.replaces for x in plans]

        def paint(states, boxes, labels, replaces):
            return self._paint_all(
                states, boxes, labels, truth, rngs, replaces
            )

        def clean(boxes):
            return [np.full(len(x), CLEAN) for x in boxes]

        erased = [x.erased for x in plans]
        nothing = [False] * len(plans)
        _, backgrounds = paint(images, erased, clean(erased), nothing)
        places = [x.decoys for x in plans]
        decoys, shown = paint(backgrounds, places, clean(places), replaces)
        boxes, labels = [x.boxes for x in plans], [x.labels for x in plans]
        windows, _ = paint(shown, boxes, labels, replaces)
        return [
            Synthetic(*x)
            for x in zip(numbers, plans, backgrounds, windows, decoys)
        ]

    def _paint_all(
        self,
        images: Sequence[np.ndarray],
        boxes: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        truth: Sequence[np.ndarray],
        rngs: Sequence[np.random.Generator],
        replaces: Sequence[bool],
    ) -> Tuple[List[List[Window]], List[np.ndarray]]:
        """Paint every box, the first of all images, then the second, ...

        A box sees those of its image that were painted before.

        Returns:
            tuple[list[list[Window]], list[np.ndarray]]: Of each image its
            painted windows, and the image with all of them.
        """
        states = [*images]
        painted: List[List[Window]] = [[] for _ in images]
        for turn in range(max(map(len, boxes), default=0)):
            mine = [i for i, x in enumerate(boxes) if turn < len(x)]
            windows = [
                self._window(states[i], boxes[i][turn], rngs[i]) for i in mine
            ]
            jobs = [
                Job(
                    window.image,
                    window.to_window(boxes[i][turn]),
                    int(labels[i][turn]),
                    int(rngs[i].integers(2**31)),
                    window.side / len(window.image),
                    window.to_window(truth[i]),
                )
                for i, window in zip(mine, windows)
            ]
            for i, window, pixels in zip(
                mine, windows, self.painter.paint(jobs)
            ):
                window = window._replace(image=pixels)
                painted[i].append(window)
                states[i] = paste(
                    states[i], window, boxes[i][turn][None], replaces[i]
                )
        return painted, states

    def _window(
        self, image: np.ndarray, box: np.ndarray, rng: np.random.Generator
    ) -> Window:
        painter = self.painter
        context = rng.uniform(*painter.context)
        place = place_window(
            box, image.shape[:2], context, rng, painter.min_side
        )
        return cut_window(image, *place, painter.size or place[-1])
