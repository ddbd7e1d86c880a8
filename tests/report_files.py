"""Files of a run and of a study, small enough to check a report by hand."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image

SCRIPT_CLASS = '<script>alert(1)</script>'


def write_run(folder: Path, classes=('a', SCRIPT_CLASS)) -> Path:
    """A run of two images: a found defect, and a missed and a false one."""
    import dsym

    vis_data = folder / '20260101_000000' / 'vis_data'
    vis_data.mkdir(parents=True)
    lines = [
        dict(loss=4.0, loss_cls=1.0, lr=0.1, epoch=1, step=10, time=3.0),
        dict(loss=2.0, loss_cls=0.5, lr=0.1, epoch=2, step=20, time=3.0),
        {'defect/mAP_50': 0.5, 'step': 1},
    ]
    (vis_data / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    metric = dsym.evaluation.DefectMetric(
        outfile_prefix=str(folder / 'test'), save_predictions=True
    )
    metric.dataset_meta = dict(classes=classes)
    for i, label in enumerate((0, 1)):
        path = folder / f'{i}.png'
        Image.fromarray(np.full((50, 50, 3), 99, np.uint8)).save(path)
        sample = DetDataSample(
            metainfo=dict(img_id=i, img_path=str(path), ori_shape=(50, 50))
        )
        boxes = torch.tensor([[5.0, 5, 30, 30]])
        sample.gt_instances = InstanceData(
            bboxes=boxes, labels=torch.tensor([label])
        )
        sample.pred_instances = InstanceData(
            bboxes=boxes + 20 * label,
            labels=torch.tensor([label]),
            scores=torch.tensor([0.8]),
        )
        metric.process({}, [sample.to_dict()])
    metric.evaluate(2)
    (folder / 'pseudo_labels.json').write_text(json.dumps(audit(classes)))
    return folder


def audit(classes) -> list:
    """One epoch of an audit: 8 boxes predicted, 4 of them selected."""
    figures = dict(boxes=8, true_positives=2, precision=0.25, recall=0.5)
    selected = dict(boxes=4, true_positives=2, precision=0.5, recall=0.5)
    return [
        dict(
            epoch=1,
            stages={
                name: dict(
                    x, boxes_per_image=2.0, classes=dict.fromkeys(classes, x)
                )
                for name, x in (('predicted', figures), ('selected', selected))
            },
        )
    ]


def record(name: str, seed: int, ap: float) -> dict:
    """A record of ``tools/study.py``."""
    scores = dict.fromkeys(('mAP', 'precision', 'recall', 'f1'), 0.5)
    scores.update(mAP_50=ap, best_thr=0.3, a_AP=0.2, a_AP50=ap)
    return dict(
        name=name,
        seed=seed,
        minutes=10.0,
        machine=dict(cpu='a CPU', cores=2),
        metrics=dict(test=scores),
        losses=[3.0, 2.0],
        epochs=2,
    )


def write_study(folder: Path) -> Path:
    """Records of a run with two seeds and of one with a single seed."""
    folder.mkdir()
    for name, seed, ap in (('x', 0, 0.5), ('x', 1, 0.7), ('y', 0, 0.4)):
        path = folder / f'{name}_seed{seed}.json'
        path.write_text(json.dumps(record(name, seed, ap)))
    (folder / 'x_seed0_audit.json').write_text(json.dumps(audit(['a'])))
    return folder


class Page(HTMLParser):
    """What a test asks of a page.

    Attributes:
        ids (list[str]): All ids.
        links (list[str]): Targets of all links.
        addresses (list[str]): All ``src`` and ``href``.
        alts (list): Text for every image and figure.
        tags (list[str]): All elements in order.
        headings (list[str]): Texts of h1 and h2.
        cells (list[list[str]]): Texts of all table rows.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.links, self.addresses = [], [], []
        self.alts, self.tags, self.headings, self.cells = [], [], [], []
        self._target = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        if 'id' in found:
            self.ids.append(found['id'])
        if tag == 'a':
            self.links.append(found['href'])
        for key in ('src', 'href'):
            if key in found:
                self.addresses.append(found[key])
        if tag == 'img':
            self.alts.append(found['alt'])
        if found.get('role') == 'img':
            self.alts.append(found['aria-label'])
        if tag == 'tr':
            self.cells.append([])
        if tag in ('h1', 'h2'):
            self.headings.append('')
            self._target = self.headings
        if tag in ('th', 'td'):
            self.cells[-1].append('')
            self._target = self.cells[-1]

    def handle_endtag(self, tag):
        if tag in ('h1', 'h2', 'th', 'td'):
            self._target = None

    def handle_data(self, data):
        if self._target is not None:
            self._target[-1] += data
