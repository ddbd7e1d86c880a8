import json

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmengine.registry import METRICS, DefaultScope
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import dsym  # noqa: F401  (registers DefectMetric)


def build(classes, **kwargs):
    metric = METRICS.build(dict(type='DefectMetric', **kwargs))
    metric.dataset_meta = dict(classes=classes)
    return metric


def evaluate(samples, classes, **kwargs):
    metric = build(classes, **kwargs)
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


def xywh(bbox):
    x1, y1, x2, y2 = map(float, bbox)
    return [x1, y1, x2 - x1, y2 - y1]


def run_pycocotools(images, num_classes):
    """COCOeval as its own documentation uses it, all defaults."""
    coco = COCO()
    coco.dataset = dict(
        images=[dict(id=image['img_id']) for image in images],
        categories=[dict(id=i + 1, name=str(i)) for i in range(num_classes)],
        annotations=[],
    )
    results = []
    for image in images:
        for prefix, crowd in (('gt_', 0), ('ignored_', 1)):
            for bbox, label in zip(
                image[f'{prefix}bboxes'], image[f'{prefix}labels']
            ):
                box = xywh(bbox)
                coco.dataset['annotations'].append(
                    dict(
                        id=len(coco.dataset['annotations']) + 1,
                        image_id=image['img_id'],
                        category_id=int(label) + 1,
                        bbox=box,
                        area=box[2] * box[3],
                        iscrowd=crowd,
                    )
                )
        for bbox, score, label in zip(
            image['bboxes'], image['scores'], image['labels']
        ):
            results.append(
                dict(
                    image_id=image['img_id'],
                    category_id=int(label) + 1,
                    bbox=xywh(bbox),
                    score=float(score),
                )
            )
    coco.createIndex()
    coco_eval = COCOeval(coco, coco.loadRes(results), 'bbox')
    coco_eval.evaluate()
    coco_eval.accumulate()
    coco_eval.summarize()
    return coco_eval


def test_equals_pycocotools(images, classes, to_samples):
    figures = evaluate(to_samples(images), classes)
    peer = run_pycocotools(images, len(classes))
    assert figures['defect/mAP'] == pytest.approx(peer.stats[0], abs=1e-9)
    assert figures['defect/mAP_50'] == pytest.approx(peer.stats[1], abs=1e-9)
    assert figures['defect/mAP_75'] == pytest.approx(peer.stats[2], abs=1e-9)
    assert 0.2 < peer.stats[1] < 0.95
    precision = peer.eval['precision'][:, :, :, 0, -1]
    for label, name in enumerate(classes):
        if (precision[:, :, label] == -1).all():
            assert f'defect/{name}_AP50' not in figures
            continue
        assert figures[f'defect/{name}_AP50'] == pytest.approx(
            precision[0, :, label].mean(), abs=1e-9
        )
        assert figures[f'defect/{name}_AP'] == pytest.approx(
            precision[:, :, label].mean(), abs=1e-9
        )


def test_equals_official_yolov9(images, classes, to_samples, official):
    figures = evaluate(to_samples(images), classes)
    precision, recall, f1, ap, _ = official
    for key, peer in (
        ('precision', precision.mean()),
        ('recall', recall.mean()),
        ('f1', f1.mean()),
        ('yolo_AP50', ap[:, 0].mean()),
        ('yolo_mAP', ap.mean()),
        ('b_precision', precision[1]),
        ('b_recall', recall[1]),
        ('b_f1', f1[1]),
        ('b_yolo_AP50', ap[1, 0]),
    ):
        assert figures[f'defect/{key}'] == pytest.approx(peer, abs=1e-9), key


def image_of(dets, gts, ignored=()):
    """An image of class 0 from [x1, y1, x2, y2(, score)] lists."""
    dets = np.array(dets, np.float32).reshape(-1, 5)
    gts = np.array(gts, np.float32).reshape(-1, 4)
    ignored = np.array(ignored, np.float32).reshape(-1, 4)
    return dict(
        img_id=0,
        img_path='0.jpg',
        height=200,
        width=200,
        bboxes=dets[:, :4],
        scores=dets[:, 4],
        labels=np.zeros(len(dets), int),
        gt_bboxes=gts,
        gt_labels=np.zeros(len(gts), int),
        ignored_bboxes=ignored,
        ignored_labels=np.zeros(len(ignored), int),
    )


HIT, MISS, OTHER = [0, 0, 50, 50], [150, 150, 199, 199], [80, 80, 140, 140]


def test_equations__two_hits_around_a_miss(to_samples):
    image = image_of([HIT + [0.9], MISS + [0.8], OTHER + [0.7]], [HIT, OTHER])
    figures = evaluate(to_samples([image]), ('a',))
    # the recalls 0 ... 0.50 have precision 1, those 0.51 ... 1 have 2/3
    expected = (51 + 50 * 2 / 3) / 101
    assert figures['defect/mAP_50'] == pytest.approx(expected)
    assert figures['defect/mAP'] == pytest.approx(expected)
    assert figures['defect/precision'] == pytest.approx(2 / 3)
    assert figures['defect/recall'] == pytest.approx(1)
    assert figures['defect/f1'] == pytest.approx(0.8)


def test_ignored__false_for_yolo_only(to_samples):
    image = image_of([OTHER + [0.9], HIT + [0.8]], [HIT], ignored=[OTHER])
    figures = evaluate(to_samples([image]), ('a',))
    assert figures['defect/mAP_50'] == pytest.approx(1)
    assert figures['defect/precision'] == pytest.approx(0.5)
    assert figures['defect/recall'] == pytest.approx(1)


def test_max_dets__counts_per_class(to_samples):
    image = image_of([MISS + [0.9], HIT + [0.8]], [HIT])
    samples = to_samples([image])
    assert evaluate(samples, ('a',))['defect/mAP_50'] == pytest.approx(0.5)
    capped = evaluate(samples, ('a',), max_dets=1)
    assert capped['defect/mAP_50'] == 0


@pytest.mark.parametrize('dets', [[], [HIT + [0.9]]])
def test_no_truth_at_all(to_samples, dets):
    figures = evaluate(to_samples([image_of(dets, [])]), ('a',))
    assert figures['defect/mAP'] == figures['defect/mAP_50'] == -1
    assert figures['defect/precision'] == figures['defect/yolo_mAP'] == 0


def test_half_precision_and_box_type(to_samples):
    from mmdet.structures.bbox import HorizontalBoxes

    (sample,) = to_samples([image_of([HIT + [0.75]], [HIT])])
    sample['pred_instances']['scores'] = torch.tensor(
        [0.75], dtype=torch.bfloat16
    )
    sample['gt_instances']['bboxes'] = HorizontalBoxes(
        sample['gt_instances']['bboxes']
    )
    assert evaluate([sample], ('a',))['defect/mAP'] == pytest.approx(1)


def test_not_finite__counts_as_false(to_samples):
    image = image_of([[np.nan] * 4 + [0.9], HIT + [0.8]], [HIT])
    figures = evaluate(to_samples([image]), ('a',))
    assert figures['defect/mAP_50'] == pytest.approx(1)
    image = image_of([[np.nan] * 4 + [0.9]], [HIT])
    assert evaluate(to_samples([image]), ('a',))['defect/mAP_50'] == 0


def test_no_annotations__names_image_and_remedy(to_samples):
    (sample,) = to_samples([image_of([], [])])
    del sample['gt_instances']
    with pytest.raises(ValueError, match=r'0\.jpg.*LoadAnnotations'):
        evaluate([sample], ('a',))


def test_label_outside__names_image_and_remedy(to_samples):
    image = image_of([HIT + [0.9]], [HIT])
    image['labels'][0] = 3
    with pytest.raises(ValueError, match=r'0\.jpg: label 3.*1 classes'):
        evaluate(to_samples([image]), ('a',))


def test_save_predictions__needs_a_place():
    with pytest.raises(ValueError, match='outfile_prefix'):
        build(('a',), save_predictions=True)


def test_default_scope_mmdet__finds_the_metric():
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert build(('a',)).prefix == 'defect'


def test_nothing_written_by_default(
    few_images, classes, to_samples, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    evaluate(to_samples(few_images), classes)
    assert list(tmp_path.iterdir()) == []


def test_files__hold_the_curves_and_evaluate_alike(
    images, classes, to_samples, tmp_path
):
    prefix = tmp_path / 'new' / 'run'
    figures = evaluate(
        to_samples(images),
        classes,
        outfile_prefix=str(prefix),
        save_predictions=True,
    )
    content = (tmp_path / 'new' / 'run.curves.json').read_text()
    assert 'NaN' not in content
    curves = json.loads(content)
    assert curves['classes'] == list(classes)
    assert curves['counts']['a']['truth'] == sum(
        (image['gt_labels'] == 0).sum() for image in images
    )
    assert curves['counts']['never_detected']['detections'] == 0
    for block in ('yolo', 'coco'):
        assert curves[block]['convention']
    # figures can be read off the curves again
    yolo, coco = curves['yolo'], curves['coco']
    best = yolo['confidence'].index(round(yolo['best_thr'], 6))
    for key in ('precision', 'recall', 'f1'):
        assert yolo[key]['a'][best] == pytest.approx(
            figures[f'defect/a_{key}'], abs=1e-6
        )
    assert np.mean(coco['precision_50']['a']) == pytest.approx(
        figures['defect/a_AP50'], abs=1e-6
    )
    assert coco['precision_50']['no_truth'] is None
    assert 'no_truth' not in yolo['f1']

    truth = COCO(f'{prefix}.gt.json')
    coco_eval = COCOeval(truth, truth.loadRes(f'{prefix}.bbox.json'), 'bbox')
    coco_eval.evaluate()
    coco_eval.accumulate()
    coco_eval.summarize()
    assert coco_eval.stats[0] == pytest.approx(figures['defect/mAP'])


def evaluate_on_rank(rank, samples, classes, init_file, out_file):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{init_file}', rank=rank, world_size=2
    )
    metric = build(classes)
    # DefaultSampler gives rank r the samples r, r + 2 ... and pads the last
    padded = samples + samples[: len(samples) % 2]
    for sample in padded[rank::2]:
        metric.process({}, [sample])
    figures = metric.evaluate(len(samples))
    if rank == 1:
        with open(out_file, 'w') as file:
            json.dump(figures, file)
    torch.distributed.destroy_process_group()


def test_two_processes__same_figures(
    few_images, classes, to_samples, tmp_path
):
    samples = to_samples(few_images)
    mp.spawn(
        evaluate_on_rank,
        (samples, classes, tmp_path / 'init', tmp_path / 'figures.json'),
        nprocs=2,
    )
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert figures == pytest.approx(evaluate(samples, classes))
