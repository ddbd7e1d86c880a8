"""What all data sets of image and annotation folders have in common."""

import os.path as osp
from collections import Counter
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple

from mmengine.logging import print_log
from mmyolo.datasets.yolov5_coco import BatchShapePolicyDataset

from .boxes import class_differs_from_name, clean_boxes
from .file_index import IMAGE_SUFFIXES, index_files
from .image_checks import image_size, size_mismatch
from .issues import DatasetError, Issue, handle_issues
from .lost_ignored import warn_of_lost_ignored
from .split_lists import read_list
from .verified_images import VerifiedImagesMixin


@dataclass
class RawAnnotation:
    """The content of one annotation file.

    Attributes:
        boxes (list[list[float]]): (x1, y1, x2, y2) of each box, in pixels or
            as fractions of the image.
        labels (list[int]): Class indices.
        ignore_flags (list[int]): 1 for boxes to ignore, else 0.
        size (tuple[int, int], optional): Width and height in pixels.
        normalized (bool): Whether boxes are fractions. Defaults to False.
        issues (list[Issue]): What is wrong with the file.
    """

    boxes: List[List[float]] = field(default_factory=list)
    labels: List[int] = field(default_factory=list)
    ignore_flags: List[int] = field(default_factory=list)
    size: Optional[Tuple[int, int]] = None
    normalized: bool = False
    issues: List[Issue] = field(default_factory=list)


class DefectDataset(VerifiedImagesMixin, BatchShapePolicyDataset):
    """Base of data sets with a folder of images and one of annotations.

    It has mmyolo's batch shapes and hands itself to the pipeline, so mosaic
    pipelines and ``yolov5_collate`` work. A subclass says how annotation
    files are called (:attr:`ANN_SUFFIX`) and reads one of them
    (:meth:`read_annotation`). Boxes that reach out of their image are
    clipped and boxes without area dropped, each with one warning that counts
    them; other faults stop with one line.

    Args:
        data_root (str): Folder of the data set on a local disk.
        ann_file (str): Text file with one image a line, relative to
            ``data_root``. Defaults to '', which takes every image found.
        data_prefix (dict): Folders ``img`` and ``ann`` below ``data_root``;
            both are searched with their subfolders.
        metainfo (dict): ``classes``, in label order, and optionally
            ``palette``, unless the class already has them.
        unlabeled (bool): Load the images only; no annotation file is looked
            for and ``instances`` is empty. Defaults to False.
        verify_images (bool): Decode every image once at start-up (in threads,
            the result is cached) and skip those that fail, with one warning
            that counts and names them. Defaults to True.
        filter_cfg (dict, optional): ``filter_empty_gt`` and ``min_size``, as
            in mmdet; applied in training only. Defaults to None.
        **kwargs: As in :class:`mmyolo.datasets.YOLOv5CocoDataset`, such as
            ``pipeline``, ``batch_shapes_cfg``, ``test_mode``, ``indices``.

    Raises:
        DatasetError: One line for a missing folder, image or annotation, a
            class that is not in ``classes``, a malformed file, an empty
            split.
    """

    #: Suffix of the annotation files, with the dot.
    ANN_SUFFIX = ''
    #: Whether an image must have an annotation file.
    ANN_REQUIRED = True
    #: Whether annotations mirror the images' subfolders.
    MIRRORED = False
    #: File names in the annotation folder that are no annotations.
    NO_ANNOTATIONS: Sequence[str] = ()

    def __init__(
        self,
        *,
        data_root: str,
        unlabeled: bool = False,
        **kwargs,
    ) -> None:
        self.unlabeled = unlabeled
        super().__init__(data_root=str(data_root), **kwargs)

    @property
    def classes(self) -> Tuple[str, ...]:
        """Class names in label order."""
        classes = self._metainfo.get('classes')
        if not classes or isinstance(classes, str):
            raise DatasetError(
                f'{type(self).__name__} needs a sequence of class names, not '
                f"{classes!r}: set metainfo=dict(classes=('first', ...))"
            )
        return tuple(classes)

    @property
    def source(self) -> str:
        """What is read, to begin a message with."""
        name = f'{type(self).__name__} {self.data_root}'
        if self.ann_file:
            name += f' ({osp.basename(self.ann_file)})'
        return name

    def find_folders(self) -> Tuple[List[str], List[str]]:
        """Folders of images and of annotations.

        Returns:
            tuple[list[str], list[str]]: Existing folders; no annotation
            folder if unlabelled.

        Raises:
            DatasetError: If one does not exist.
        """
        self.check_root()
        keys = ['img'] if self.unlabeled else ['img', 'ann']
        for key in keys:
            if not osp.isdir(self.data_prefix[key]):
                raise DatasetError(
                    f'folder {osp.abspath(self.data_prefix[key])} does not '
                    f'exist: set data_prefix=dict({key}=...) to the folder of '
                    + ('images' if key == 'img' else 'annotations')
                    + ' below data_root'
                    + (
                        ', or unlabeled=True for images without annotations'
                        if key == 'ann'
                        else ''
                    )
                )
        return (
            [self.data_prefix['img']],
            [] if self.unlabeled else [self.data_prefix['ann']],
        )

    def check_root(self) -> None:
        """Raise :class:`DatasetError` if the data root is missing."""
        if not osp.isdir(self.data_root):
            raise DatasetError(
                f'data root {osp.abspath(self.data_root)} does not exist: '
                'set data_root to the folder of the data set (docs/data.md '
                'says how to get it)'
            )

    def read_annotation(self, path: str) -> RawAnnotation:
        """Read one annotation file; faults go into its ``issues``."""
        raise NotImplementedError

    def listed_name(self, entry: str, image_folder: str) -> str:
        """Name of the image that an entry of the list means.

        Args:
            entry (str): A name, or the path of an image file.
            image_folder (str): Folder of the images.

        Returns:
            str: The name by which :func:`index_files` knows it.
        """
        stem, suffix = osp.splitext(entry)
        name = stem if suffix.lower() in IMAGE_SUFFIXES else entry
        if not self.MIRRORED:
            return osp.basename(name)
        path = osp.join(self.data_root, entry)
        if osp.isfile(path):
            name = osp.relpath(osp.join(self.data_root, name), image_folder)
        return name.replace('\\', '/')

    def find_samples(self) -> Tuple[List[dict], List[Issue]]:
        """Pair the images with their annotation files.

        Returns:
            tuple[list[dict], list[Issue]]: ``img_id``, ``img_path`` and
            ``ann_path`` (None without a file) of each image, and findings.
        """
        image_folders, ann_folders = self.find_folders()
        # bare names are for finding annotations
        by_tree = self.MIRRORED or (self.unlabeled and not self.ann_file)
        images, issues = index_files(image_folders, IMAGE_SUFFIXES, by_tree)
        anns: Dict[str, str] = {}
        if not self.unlabeled:
            anns, more = index_files(
                ann_folders,
                (self.ANN_SUFFIX,),
                self.MIRRORED,
                self.NO_ANNOTATIONS,
            )
            issues += more
        if self.ann_file:
            listed = [
                self.listed_name(entry, image_folders[0])
                for entry in read_list(self.ann_file)
            ]
            names = list(dict.fromkeys(listed))
            issues += [
                Issue(
                    'listed_twice',
                    self.ann_file,
                    f'{self.ann_file} lists {name!r} {count} times: delete '
                    'the repetitions',
                )
                for name, count in Counter(listed).items()
                if count > 1
            ]
        else:
            names = sorted({*images, *anns})
        if not names:
            raise DatasetError(
                f'no image in {", ".join(map(osp.abspath, image_folders))}: '
                f'put images ({", ".join(IMAGE_SUFFIXES)}) there or correct '
                'data_prefix'
            )
        samples = []
        for name in names:
            ann = anns.get(name)
            if name not in images:
                by = ann or self.ann_file
                issues.append(
                    Issue(
                        'missing_image',
                        by,
                        f'{by} names the image {name!r}, which is not in '
                        f'{", ".join(map(osp.abspath, image_folders))}: '
                        'restore the image or remove the entry',
                    )
                )
            elif ann is None and self.ANN_REQUIRED and not self.unlabeled:
                issues.append(
                    Issue(
                        'missing_annotation',
                        images[name],
                        f'{images[name]} has no {name}{self.ANN_SUFFIX} in '
                        f'{", ".join(map(osp.abspath, ann_folders))}: '
                        'annotate it, take it off the list, or set '
                        'unlabeled=True',
                    )
                )
            else:
                samples.append(
                    {'img_id': name, 'img_path': images[name], 'ann_path': ann}
                )
        if samples and not (self.unlabeled or any(map(anns.get, names))):
            raise DatasetError(
                f'none of the {len(names)} images of {self.source} has a '
                f'{self.ANN_SUFFIX} file in '
                f'{", ".join(map(osp.abspath, ann_folders))}: correct '
                'data_prefix, or set unlabeled=True'
            )
        return samples, issues

    def scan(self) -> Tuple[List[dict], List[Issue]]:
        """Read everything and report what is wrong, without stopping.

        Returns:
            tuple[list[dict], list[Issue]]: Data infos as mmdet's
            (``img_path``, ``img_id``, ``height``, ``width``, ``instances``),
            with ``ann_path``, and all findings.

        Raises:
            DatasetError: If there is nothing to read.
        """
        samples, issues = self.find_samples()
        samples, more = self.readable(samples)
        issues += more
        data_list = []
        for sample in samples:
            raw = RawAnnotation()
            if sample['ann_path'] is not None:
                raw = self.read_annotation(sample['ann_path'])
                issues += raw.issues
            if 'width' in sample:
                size = (sample['width'], sample['height'])
                if raw.size not in (None, size):
                    issues.append(
                        size_mismatch(sample['img_path'], raw.size, size)
                    )
            else:
                size = raw.size or image_size(sample['img_path'])
            boxes = raw.boxes
            if raw.normalized:
                boxes = [
                    [x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1]]
                    for x1, y1, x2, y2 in boxes
                ]
            instances, more = clean_boxes(
                boxes,
                raw.labels,
                raw.ignore_flags,
                size,
                sample['ann_path'] or sample['img_path'],
                self.classes,
            )
            issues += more
            issues += class_differs_from_name(
                raw.labels, sample['img_path'], self.classes
            )
            sample.update(width=size[0], height=size[1], instances=instances)
            data_list.append(sample)
        return data_list, issues

    def load_data_list(self) -> List[dict]:
        """Read the annotations; stop at errors, warn of changes.

        Returns:
            list[dict]: Data infos, see :meth:`scan`.

        Raises:
            DatasetError: At the first fault that cannot be mended.
        """
        _ = self.classes
        data_list, issues = self.scan()
        handle_issues(issues, self.source)
        if not data_list:
            raise DatasetError(
                f'{self.source}: none of its images can be read: restore them'
            )
        warn_of_lost_ignored(self, data_list, self.source)
        num_boxes = sum(len(info['instances']) for info in data_list)
        print_log(
            f'{self.source}: {len(data_list)} images, '
            + ('unlabelled' if self.unlabeled else f'{num_boxes} boxes'),
            logger='current',
        )
        return data_list

    def filter_data(self) -> List[dict]:
        """Apply ``filter_cfg`` to the images of a training set.

        Returns:
            list[dict]: The data infos that remain.

        Raises:
            DatasetError: If none remains.
        """
        if self.test_mode or self.filter_cfg is None:
            return self.data_list
        filter_empty = self.filter_cfg.get('filter_empty_gt', False)
        min_size = self.filter_cfg.get('min_size', 0)
        kept = [
            info
            for info in self.data_list
            if min(info['width'], info['height']) >= min_size
            and (info['instances'] or not filter_empty)
        ]
        dropped = len(self.data_list) - len(kept)
        if not kept:
            raise DatasetError(
                f'{self.source}: filter_cfg={dict(self.filter_cfg)} drops '
                f'all {dropped} images: relax it'
            )
        if dropped:
            print_log(
                f'{self.source}: filter_cfg drops {dropped} images, '
                f'{len(kept)} remain',
                logger='current',
            )
        return kept
