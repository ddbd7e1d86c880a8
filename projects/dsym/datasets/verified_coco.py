"""COCO data sets that are checked before they are trusted."""

import json
import math
import os.path as osp
from collections import Counter
from typing import List, Tuple

from mmdet.datasets import CocoDataset
from mmengine.registry import DATASETS
from mmyolo.datasets import YOLOv5CocoDataset

from .boxes import clean_boxes
from .issues import DatasetError, Issue, handle_issues, malformed
from .lost_ignored import warn_of_lost_ignored
from .verified_images import VerifiedImagesMixin

KEYS = 'id', 'image_id', 'category_id', 'bbox', 'area'  # of an annotation


@DATASETS.register_module()
class VerifiedCocoDataset(VerifiedImagesMixin, YOLOv5CocoDataset):
    """mmyolo's ``YOLOv5CocoDataset`` with checks of images and annotations.

    The annotations are read by the toolbox, unchanged. What it does in
    silence is said or refused: boxes it leaves out are counted, unknown
    categories stop, and so do ``classes`` whose order differs from the
    file's categories, since ``CocoDataset`` numbers labels in the file's
    order but names them in the config's.

    Args:
        verify_images (bool): Decode every image once at start-up (in threads,
            the result is cached) and skip those that fail, with one warning.
            Defaults to True.
        **kwargs: As in :class:`mmyolo.datasets.YOLOv5CocoDataset`.

    Raises:
        DatasetError: One line for a missing file or image, a malformed file,
            wrong classes, an empty set.
    """

    @property
    def classes(self) -> Tuple[str, ...]:
        """Class names in label order."""
        return tuple(self._metainfo['classes'])

    @property
    def source(self) -> str:
        """What is read, to begin a message with."""
        return f'{type(self).__name__} {self.ann_file}'

    def scan(self) -> Tuple[List[dict], List[Issue]]:
        """Read everything and report what is wrong, without stopping.

        Returns:
            tuple[list[dict], list[Issue]]: Data infos of the readable
            images, and all findings.

        Raises:
            DatasetError: If the file cannot be read at all.
        """
        content = self._read_file()
        self._check_classes(content)
        names = {cat['id']: cat['name'] for cat in content['categories']}
        # A repeated id would silently take the place of the first one.
        issues: List[Issue] = [
            malformed(self.ann_file, f'has the id {number} in {key} twice')
            for key in ('images', 'annotations')
            for number, count in Counter(
                entry.get('id') for entry in content[key]
            ).items()
            if count > 1
        ]
        # Two entries of one image would part its boxes.
        issues += [
            Issue(
                'malformed_annotation',
                self.ann_file,
                f'{self.ann_file} names the image {name} twice: merge its '
                'entries',
            )
            for name, count in Counter(
                osp.normpath(entry['file_name'])
                for entry in content['images']
                if isinstance(entry.get('file_name'), str)
            ).items()
            if count > 1
        ]
        infos = {}
        for image in content['images']:
            if not isinstance(image.get('file_name', ''), str):
                issues.append(
                    malformed(
                        self.ann_file,
                        f'has the file_name {image["file_name"]!r}',
                    )
                )
                continue
            try:
                infos[image['id']] = {
                    'img_id': image['id'],
                    'img_path': osp.join(
                        self.data_prefix['img'], image['file_name']
                    ),
                    'width': image['width'],
                    'height': image['height'],
                    'boxes': [],
                    'labels': [],
                    'flags': [],
                }
            except KeyError as error:
                issues.append(
                    malformed(self.ann_file, f'has an image without {error}')
                )
        if not infos:
            raise DatasetError(
                f'{self.ann_file} holds no image: export the data set again'
            )
        for ann in content['annotations']:
            issues += self._read_annotation(ann, infos, names)
        kept, more = self.readable(list(infos.values()))
        issues += more
        for info in kept:
            info['instances'], more = clean_boxes(
                info.pop('boxes'),
                info.pop('labels'),
                info.pop('flags'),
                (info['width'], info['height']),
                info['img_path'],
                self.classes,
            )
            issues += more
        return kept, issues

    def load_data_list(self) -> List[dict]:
        """Read the annotations as the toolbox does, of readable images.

        Returns:
            list[dict]: Data infos as mmdet's ``CocoDataset``.
        """
        readable, issues = self.scan()
        # Errors stop here, before the toolbox trips over them.
        handle_issues(issues, self.source)
        scanned = {info['img_id']: info for info in readable}
        self._sizes = {
            key: dict(width=info['width'], height=info['height'])
            for key, info in scanned.items()
        }
        # Not the mixin's: the images have been verified by the scan.
        loaded = super(VerifiedImagesMixin, self).load_data_list()
        data_list = [info for info in loaded if info['img_id'] in scanned]
        if not data_list:
            raise DatasetError(
                f'{self.source}: none of its images can be read: restore them'
            )
        warn_of_lost_ignored(self, data_list, self.source)
        for info in data_list:
            width, height = info['width'], info['height']
            # mmdet drops boxes out of the image but does not clip the others.
            for instance in info['instances']:
                x1, y1, x2, y2 = instance['bbox']
                instance['bbox'] = [
                    max(x1, 0),
                    max(y1, 0),
                    min(x2, width),
                    min(y2, height),
                ]
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """As mmdet's, by the size that the image has, not that of the file.

        Args:
            raw_data_info (dict): ``raw_img_info`` and ``raw_ann_info``.

        Returns:
            dict: Of the image, with the boxes that lie in it.
        """
        image = raw_data_info['raw_img_info']
        image.update(self._sizes.get(image['img_id'], {}))
        return super().parse_data_info(raw_data_info)

    def _read_file(self) -> dict:
        if not osp.isfile(self.ann_file):
            raise DatasetError(
                f'annotation file {osp.abspath(self.ann_file)} does not '
                'exist: set data_root and ann_file to your COCO json'
            )
        try:
            with open(self.ann_file, encoding='utf-8') as file:
                content = json.load(file)
        except ValueError as error:
            raise DatasetError(
                f'{self.ann_file} is no valid json ({error}): export it again'
            ) from None
        if not isinstance(content, dict):
            content = {}
        for key in ('images', 'annotations', 'categories'):
            if not isinstance(content.get(key), list):
                raise DatasetError(
                    f'{self.ann_file} has no list {key!r}, so it is no COCO '
                    'detection file: export it again'
                )
            if not all(isinstance(entry, dict) for entry in content[key]):
                raise DatasetError(
                    f'{self.ann_file} has an entry in {key!r} that is no '
                    'object: export it again'
                )
        if not all({'id', 'name'} <= {*cat} for cat in content['categories']):
            raise DatasetError(
                f'{self.ann_file} has a category without id or name: export '
                'it again'
            )
        return content

    def _check_classes(self, content: dict) -> None:
        """Refuse classes that would be missing or named wrongly."""
        if self.classes == tuple(CocoDataset.METAINFO['classes']):
            hint = 'set metainfo=dict(classes=...)'
        else:
            hint = 'correct metainfo.classes'
        in_file = [cat['name'] for cat in content['categories']]
        missing = [name for name in self.classes if name not in in_file]
        if missing:
            raise DatasetError(
                f'{self.ann_file} has no category {missing[0]!r} (it has '
                f'{", ".join(in_file)}): {hint}'
            )
        order = [name for name in in_file if name in self.classes]
        if order != list(self.classes):
            raise DatasetError(
                f'{self.ann_file} lists its categories as {tuple(order)}, '
                f'metainfo.classes as {self.classes}: labels are numbered in '
                "the file's order, so write the classes in that order"
            )

    def _read_annotation(
        self, ann: dict, infos: dict, names: dict
    ) -> List[Issue]:
        """Add one annotation to its image."""
        where = f'annotation {ann.get("id")}'
        lacking = [key for key in KEYS if key not in ann]
        if lacking:
            return [
                malformed(self.ann_file, f'{where} lacks {", ".join(lacking)}')
            ]
        try:
            numbers = [*ann['bbox'], ann['area']]
            x, y, w, h, area = map(float, numbers)
            info = infos[ann['image_id']]
            name = names.get(ann['category_id'])
            # mmdet compares them: a text is no number
            complete = all(
                isinstance(x, (int, float)) and math.isfinite(x)
                for x in numbers
            )
        except (KeyError, TypeError, ValueError):
            complete = False
        if not complete:
            return [
                malformed(
                    self.ann_file,
                    f'{where} needs a bbox of 4 numbers, a number as area '
                    'and the id of an image as image_id',
                )
            ]
        if name not in self.classes:
            return [
                Issue(
                    'unknown_class',
                    self.ann_file,
                    f'{self.ann_file}: {where} has category '
                    f'{ann["category_id"]} ({name}), which is not in '
                    f'{self.classes}: add it to metainfo.classes or delete '
                    'the annotation',
                )
            ]
        # What mmdet's reader leaves out without a word.
        small = w < 1 or h < 1 or area <= 0
        if ann.get('ignore') or (w > 0 and h > 0 and small):
            return [
                Issue(
                    'box_left_out',
                    info['img_path'],
                    f'{info["img_path"]}: {where} is left out (bbox {w:g} x '
                    f'{h:g}, area {area:g}, ignore='
                    f'{ann.get("ignore", 0)}): boxes need sides of 1 pixel '
                    'or more, a positive area and no ignore=1',
                )
            ]
        info['boxes'].append([x, y, x + w, y + h])
        info['labels'].append(self.classes.index(name))
        info['flags'].append(int(bool(ann.get('iscrowd'))))
        return []
