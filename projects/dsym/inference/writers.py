"""Write detections as they come: CSV, COCO, drawings, a video."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, Optional, Sequence

import cv2
import numpy as np
from mmengine.structures import InstanceData

from ..errors import InputError
from .drawing import draw_detections
from .sources import Frame

COLUMNS = ('image', 'class', 'score', 'x1', 'y1', 'x2', 'y2')
VIDEO_COLUMNS = (*COLUMNS, 'frame', 'time')
DIGITS = 2  # of pixels
JPEG_SIDE = 65500  # px, the longest that libjpeg writes


class Writer:
    """Takes the detections of one image after the other."""

    def write(self, frame: Frame, boxes: InstanceData) -> None:
        """Write what was found in an image.

        Args:
            frame (Frame): The image.
            boxes (InstanceData): ``bboxes``, ``scores``, ``labels``.
        """
        raise NotImplementedError

    def flush(self) -> Dict[str, Any]:
        """Bring everything to the disk.

        Returns:
            dict: What another writer of the same files needs to go on.
        """
        return {}

    def close(self) -> Optional[Path]:
        """Finish the files.

        Returns:
            Path, optional: What the user looks at.
        """


def open_at(file: Path, length: int) -> BinaryIO:
    """Open a file to go on after its first bytes; the others are cut off.

    Raises:
        InputError: If there are fewer.
    """
    if not length:
        file.parent.mkdir(parents=True, exist_ok=True)
        return open(file, 'wb')
    if not file.is_file() or file.stat().st_size < length:
        raise InputError(
            f'{file} has lost results that the journal beside it names: '
            'restore it, or give another --out-dir'
        )
    stream = open(file, 'r+b')
    stream.truncate(length)
    stream.seek(length)
    return stream


class CsvWriter(Writer):
    """A row a box: image, class, score and corners in original pixels.

    Args:
        file (Path): The file.
        classes (Sequence[str]): Names in label order.
        video (bool): Add the frame's number and its time in seconds.
        position (dict, optional): Of an earlier writer's ``flush``.
    """

    def __init__(
        self,
        file: Path,
        classes: Sequence[str],
        video: bool = False,
        position: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.file = file
        self.classes = classes
        self.video = video
        length = (position or {}).get('csv', 0)
        self._stream = open_at(file, length)
        if not length:
            self._rows([VIDEO_COLUMNS if video else COLUMNS])

    def _rows(self, rows: List[Sequence]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator='\n').writerows(rows)
        # a name need not be UTF-8: what is none stands there as in the JSON
        content = text.getvalue().encode(errors='backslashreplace')
        self._stream.write(content)

    def write(self, frame: Frame, boxes: InstanceData) -> None:
        """Write an image's rows; none if nothing was found."""
        more = [frame.index, f'{frame.time:.3f}'] if self.video else []
        rows = [
            [
                frame.name,
                self.classes[label],
                f'{score:.4f}',
                *(f'{x:.{DIGITS}f}' for x in box),
                *more,
            ]
            for box, score, label in zip(
                boxes.bboxes.tolist(),
                boxes.scores.tolist(),
                boxes.labels.tolist(),
            )
        ]
        self._rows(rows)

    def flush(self) -> Dict[str, Any]:
        """Flush; the position is the file's length."""
        self._stream.flush()
        return dict(csv=self._stream.tell())

    def close(self) -> Path:
        """Close the file."""
        self._stream.close()
        return self.file


class CocoWriter(Writer):
    """A COCO data set whose annotations have a ``score``.

    Images and annotations are collected in two files of one object a line
    beside the result and joined at the end.

    Args:
        file (Path): The file.
        classes (Sequence[str]): Names in label order; ids are label + 1.
        info (dict): What else to say, as ``info``.
        position (dict, optional): Of an earlier writer's ``flush``.
        keep_parts (bool): Leave the two files for a later writer. Defaults
            to False.
    """

    def __init__(
        self,
        file: Path,
        classes: Sequence[str],
        info: Dict[str, Any],
        position: Optional[Dict[str, Any]] = None,
        keep_parts: bool = False,
    ) -> None:
        self.file = file
        self.classes = classes
        self.info = info
        self.keep_parts = keep_parts
        position = (position or {}).get('coco', {})
        self.images = position.get('num_images', 0)
        self.annotations = position.get('num_annotations', 0)
        self.parts = {
            key: file.with_suffix(f'.{key}.jsonl')
            for key in ('images', 'annotations')
        }
        self._streams = {
            key: open_at(part, position.get(key, 0))
            for key, part in self.parts.items()
        }

    def _line(self, key: str, entry: Dict[str, Any]) -> None:
        self._streams[key].write(json.dumps(entry).encode() + b'\n')

    def write(
        self,
        frame: Frame,
        boxes: InstanceData,
        extra: Optional[Sequence[Dict[str, Any]]] = None,
    ) -> None:
        """Write an image and its annotations.

        Args:
            frame (Frame): The image.
            boxes (InstanceData): Its detections.
            extra (Sequence[dict], optional): More entries of each annotation.
        """
        self.images += 1
        height, width = frame.image.shape[:2]
        image = dict(
            id=self.images, file_name=frame.name, width=width, height=height
        )
        if frame.index is not None:
            image.update(frame=frame.index, time=round(frame.time, 3))
        self._line('images', image)
        for i, (box, score, label) in enumerate(
            zip(
                boxes.bboxes.tolist(),
                boxes.scores.tolist(),
                boxes.labels.tolist(),
            )
        ):
            self.annotations += 1
            x1, y1, x2, y2 = (round(x, DIGITS) for x in box)
            entry = dict(
                id=self.annotations,
                image_id=self.images,
                category_id=label + 1,
                bbox=[x1, y1, round(x2 - x1, DIGITS), round(y2 - y1, DIGITS)],
                area=round((x2 - x1) * (y2 - y1), DIGITS),
                iscrowd=0,
                score=round(score, 4),
            )
            self._line('annotations', {**entry, **(extra[i] if extra else {})})

    def flush(self) -> Dict[str, Any]:
        """Flush; the position is lengths and counts."""
        lengths = {}
        for key, stream in self._streams.items():
            stream.flush()
            lengths[key] = stream.tell()
        return dict(
            coco=dict(
                lengths,
                num_images=self.images,
                num_annotations=self.annotations,
            )
        )

    def close(self) -> Path:
        """Join the two files to the result, a line at a time."""
        for stream in self._streams.values():
            stream.close()
        categories = [
            dict(id=i + 1, name=name) for i, name in enumerate(self.classes)
        ]
        new = self.file.with_suffix('.new')
        with open(new, 'w', encoding='utf-8') as out:
            out.write(f'{{"info": {json.dumps(self.info)},\n')
            out.write(f'"categories": {json.dumps(categories)}')
            for key, part in self.parts.items():
                out.write(f',\n"{key}": [\n')
                with open(part, encoding='utf-8') as lines:
                    for i, line in enumerate(lines):
                        out.write((',\n' if i else '') + line.rstrip('\n'))
                out.write('\n]')
            out.write('}\n')
        shutil.move(new, self.file)
        if not self.keep_parts:
            for part in self.parts.values():
                part.unlink()
        return self.file


class DrawingWriter(Writer):
    """An image with its boxes drawn, under the name of the original.

    Args:
        folder (Path): Where they go.
        classes (Sequence[str]): Names in label order.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder = folder
        self.classes = classes

    def write(self, frame: Frame, boxes: InstanceData) -> None:
        """Draw an image."""
        name = frame.name
        if not name.lower().endswith(('.jpg', '.jpeg', '.png')):
            long = max(frame.image.shape[:2]) > JPEG_SIDE
            name += '.png' if long else '.jpg'
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        drawn = draw_detections(frame.image, boxes, self.classes)
        # not imwrite, which says False to every fault
        done, content = cv2.imencode(file.suffix, drawn)
        if not done:
            raise InputError(f'{file}: OpenCV cannot write this image')
        file.write_bytes(content.tobytes())

    def close(self) -> Path:
        """Nothing is open."""
        return self.folder


class VideoWriter(Writer):
    """A video with its boxes drawn.

    Args:
        file (Path): An mp4 file.
        classes (Sequence[str]): Names in label order.
        fps (float): Frames a second.
    """

    def __init__(self, file: Path, classes: Sequence[str], fps: float) -> None:
        self.file = file
        self.classes = classes
        self.fps = fps
        self._stream: Optional[cv2.VideoWriter] = None

    def write(self, frame: Frame, boxes: InstanceData) -> None:
        """Add a frame.

        Raises:
            InputError: If OpenCV cannot write videos here.
        """
        drawn: np.ndarray = draw_detections(frame.image, boxes, self.classes)
        if self._stream is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = cv2.VideoWriter(
                str(self.file),
                cv2.VideoWriter_fourcc(*'mp4v'),
                self.fps,
                drawn.shape[1::-1],
            )
            if not self._stream.isOpened():
                raise InputError(
                    f'{self.file}: this OpenCV cannot write mp4 videos; give '
                    '--no-images'
                )
        self._stream.write(drawn)

    def close(self) -> Path:
        """Finish the video."""
        if self._stream is not None:
            self._stream.release()
        return self.file
