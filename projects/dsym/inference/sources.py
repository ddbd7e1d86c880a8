"""Where images come from: files, folders, videos; one after the other."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Iterator, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from mmengine.logging import print_log

from ..datasets.file_index import IMAGE_SUFFIXES
from ..datasets.image_checks import decode_image
from ..datasets.path_index import walk_files
from ..errors import InputError, MissingFileError

# what is missing at the end of a video that is whole: containers miscount
FEW_FRAMES = 5
FEW_SHARE = 0.01
DRAWN = 'drawn'  # folder of drawings in the folder of results
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.m4v', '.webm', '.mpg')


@dataclass
class Frame:
    """An image on its way through.

    Attributes:
        name (str): Path below the input folder, with ``/``; a video's frames
            have the video's name and their number.
        image (np.ndarray, optional): ``(H, W, 3)``, uint8 in BGR; None if it
            cannot be read.
        error (str): Why it cannot be read; empty if it can.
        path (Path, optional): The file; None for a frame of a video.
        index (int, optional): Number of a video's frame, from 0.
        time (float, optional): Its time in seconds, from 0.
        stamp (tuple[int], optional): Size and time of change of a watched
            file.
    """

    name: str
    image: Optional[np.ndarray] = None
    error: str = ''
    path: Optional[Path] = None
    index: Optional[int] = None
    time: Optional[float] = None
    stamp: Optional[Tuple[int, int]] = None


def walk_names(
    folder: Path, skip: Optional[Path] = None
) -> Iterator[Tuple[str, bool]]:
    """Walk through a folder's files, as :func:`walk_files` does.

    Args:
        folder (Path): With subfolders.
        skip (Path, optional): A folder that is left out, where results go.

    Yields:
        tuple[str, bool]: Path below the folder, with ``/``, and whether it
        is an image by its suffix.
    """
    for file in walk_files(folder, skip=skip):
        path = Path(file).relative_to(folder)
        yield path.as_posix(), is_image(path)


def is_image(path: Path) -> bool:
    """Whether a file's suffix is one of images."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def read_frame(path: Path, name: str) -> Frame:
    """Decode a file; a fault goes into the frame."""
    image, error = decode_image(str(path))
    return Frame(name, image, error, path)


class ImageFiles:
    """Images that are named one by one.

    Args:
        paths (Sequence[Path]): Existing files.

    Attributes:
        root (Path): What names are relative to, the folder of all.
    """

    others = missing = 0

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = [Path(os.path.abspath(x)) for x in paths]
        self.root = Path(os.path.commonpath([x.parent for x in self.paths]))

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Frame]:
        for path in self.paths:
            yield read_frame(path, path.relative_to(self.root).as_posix())


class ImageFolder:
    """All images of a folder and its subfolders, read as they are asked for.

    Args:
        root (Path): The folder.
        skip (Path, optional): As in :func:`walk_names`.

    Attributes:
        others (int): Files that are no images.

    Raises:
        InputError: If there is no image.
    """

    missing = 0

    def __init__(self, root: Path, skip: Optional[Path] = None) -> None:
        if not root.is_dir():
            raise InputError(f'{root}: there is no such folder')
        self.root = Path(os.path.abspath(root))
        self.skip = skip
        self.count = self.others = 0
        for _, image in walk_names(self.root, skip):
            self.count += image
            self.others += not image
        if not self.count:
            raise InputError(
                f'{root}: no image ({", ".join(IMAGE_SUFFIXES)}) in this '
                'folder; give another one, or --watch SECONDS to wait for '
                'images'
            )

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Frame]:
        for name, image in walk_names(self.root, self.skip):
            if image:
                yield read_frame(self.root / name, name)


class Video:
    """The frames of a video.

    Args:
        path (Path): The file.

    Attributes:
        fps (float): Frames a second.
        missing (int): Frames that a whole video would have had beyond those
            that were read; 0 if it is whole.

    Raises:
        InputError: If OpenCV cannot read it.
    """

    others = missing = 0

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))
        self.root = self.path.parent
        capture = cv2.VideoCapture(str(path))
        self.fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        readable = capture.read()[0]
        capture.release()
        if not readable:
            raise InputError(
                f'{path}: OpenCV cannot read this video; convert it to H.264 '
                'in an mp4 file'
            )

    def __len__(self) -> int:
        """What the file says; some files are wrong by a few frames."""
        return max(self.count, 1)

    def __iter__(self) -> Iterator[Frame]:
        capture = cv2.VideoCapture(str(self.path))
        index, place = 0, 0.0
        try:
            while True:
                done, image = capture.read()
                if not done:
                    break
                place = capture.get(cv2.CAP_PROP_POS_MSEC)
                yield Frame(
                    f'{self.path.stem}_{index:06d}.jpg',
                    image,
                    index=index,
                    time=index / self.fps,
                )
                index += 1
        finally:
            capture.release()
        missing = missing_frames(self.count, index, place, self.fps)
        if missing:
            print_log(
                f'{self.path}: {index} frames were read of the {self.count} '
                'that the file announces: it may be cut off',
                'current',
                logging.WARNING,
            )
        if missing > max(FEW_FRAMES, FEW_SHARE * self.count):
            self.missing = missing


def missing_frames(announced: int, read: int, place: float, fps: float) -> int:
    """How many frames a video ended before its end.

    Of a video whose rate changes, the announced number is its length times
    one of its rates; so what was read also counts by its place in time.

    Args:
        announced (int): Frames by the file's header.
        read (int): Frames.
        place (float): Time of the last one, in milliseconds.
        fps (float): Frames a second, by the header.

    Returns:
        int: The number, 0 if none is missing.
    """
    reached = max(read, round(place * fps / 1000) + 1 if read else 0)
    return max(0, announced - reached)


def check_apart(root: Path, out_dir: Path, listed: bool = False) -> None:
    """Refuse a folder of results whose drawings lie among the images.

    Args:
        root (Path): Folder of the images.
        out_dir (Path): Folder of the results.
        listed (bool): Images are named one by one, the others of their folder
            are not read. Defaults to False.

    Raises:
        InputError: If drawings would be read as images, or take their place.
    """
    images, results = root.resolve(), out_dir.resolve()
    drawn = results / DRAWN
    read = images == results and not listed
    if read or drawn in (images, *images.parents):
        raise InputError(
            f'--out-dir {out_dir}: its drawings would lie among the images of '
            f'{root}; give another folder'
        )


def check_writable(out_dir: Path) -> None:
    """Make a folder of results, before anything is computed.

    Args:
        out_dir (Path): The folder.

    Raises:
        InputError: If no file can be written there.
    """
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out_dir):
            pass
    except OSError as error:
        raise InputError(
            f'--out-dir {out_dir}: nothing can be written there '
            f'({error.strerror}): give another folder'
        ) from None


def open_source(inputs: Sequence[str], skip: Path):
    """Find out what is to be read.

    Args:
        inputs (Sequence[str]): Images, or one folder, or one video.
        skip (Path): Folder of the results, which are no input.

    Returns:
        ImageFiles or ImageFolder or Video: The source.

    Raises:
        InputError: If there is no such file, they do not go together, or
            results would lie among them.
    """
    paths: List[Path] = [Path(x) for x in inputs]
    for path in paths:
        if not path.exists():
            raise MissingFileError(
                f'{path}: no such image, folder or video (looked from '
                f'{Path.cwd()})'
            )
        single = path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES
        if single and len(paths) > 1:
            raise InputError(
                f'{path}: a folder or a video stands alone; call the tool '
                'once for each'
            )
        if not single and not is_image(path):
            raise InputError(
                f'{path}: its suffix is none of an image '
                f'({", ".join(IMAGE_SUFFIXES)}) or a video '
                f'({", ".join(VIDEO_SUFFIXES)}); convert or rename it'
            )
    if paths[0].is_dir():
        check_apart(paths[0], skip)
        return ImageFolder(paths[0], skip.resolve())
    if paths[0].suffix.lower() in VIDEO_SUFFIXES:
        return Video(paths[0])
    source = ImageFiles(paths)
    check_apart(source.root, skip, listed=True)
    return source
