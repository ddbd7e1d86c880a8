"""Draw detections into images, by OpenCV: fast enough for videos."""

from typing import List, Sequence, Tuple

import cv2
import numpy as np
from mmengine.structures import InstanceData

from ..visualization.style import PALETTE

SMALLEST = 480  # px of the longer side of a drawing: text has to be readable
FONT = cv2.FONT_HERSHEY_SIMPLEX


def class_colors(num_classes: int) -> List[Tuple[int, int, int]]:
    """A BGR colour of each class, from the palette of the figures."""
    codes = [PALETTE[i % len(PALETTE)] for i in range(num_classes)]
    return [tuple(bytes.fromhex(x[1:]))[::-1] for x in codes]


def draw_detections(
    image: np.ndarray, boxes: InstanceData, classes: Sequence[str]
) -> np.ndarray:
    """Draw boxes with class and score; small images are enlarged.

    Args:
        image (np.ndarray): ``(H, W, 3)``, uint8 in BGR.
        boxes (InstanceData): ``bboxes`` in pixels of the image, ``scores``,
            ``labels``.
        classes (Sequence[str]): Names in label order.

    Returns:
        np.ndarray: A new image, a whole number of times as large.
    """
    factor = -(-SMALLEST // max(image.shape[:2]))
    canvas = cv2.resize(
        image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC
    )
    height, width = canvas.shape[:2]
    line = max(2, round(max(height, width) / 400))
    size = max(0.45, max(height, width) / 1600)
    colors = class_colors(len(classes))
    # the best last, on top of the others
    order = boxes.scores.argsort().tolist()
    corners = (boxes.bboxes * factor).round().int().tolist()
    scores, labels = boxes.scores.tolist(), boxes.labels.tolist()
    for i in order:
        x1, y1, x2, y2 = corners[i]
        color = colors[labels[i]]
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, line)
        text = f'{classes[labels[i]]} {scores[i]:.2f}'
        (w, h), below = cv2.getTextSize(text, FONT, size, 1)
        # above the box where there is room, always inside of the image
        left = max(0, min(x1, width - w))
        base = y1 - below if y1 >= h + 2 * below else y1 + h + below
        base = min(base, height - below)
        cv2.rectangle(
            canvas,
            (left, base - h - below),
            (left + w, base + below),
            color,
            cv2.FILLED,
        )
        cv2.putText(
            canvas,
            text,
            (left, base),
            FONT,
            size,
            (255, 255, 255),
            1,
            cv2.LINE_AA,
        )
    return canvas
