import numpy as np
import pytest
import torch

CLASSES = ('a', 'b', 'never_detected', 'no_truth', 'no_truth_no_detection')


def boxes(rng, number):
    corner = rng.uniform(0, 120, (number, 2))
    return np.hstack([corner, corner + rng.uniform(15, 80, (number, 2))])


def make_image(rng, index, ties):
    """One image with everything that makes evaluations disagree."""
    empty, blank = index % 7 == 0, index % 5 == 0
    gt_bboxes = boxes(rng, 0 if empty else rng.integers(1, 6))
    gt_labels = rng.integers(0, 3, len(gt_bboxes))
    if len(gt_bboxes) > 2:  # duplicate truth
        gt_bboxes[1], gt_labels[1] = gt_bboxes[0], gt_labels[0]
    ignored_bboxes = boxes(rng, index % 3)
    ignored_labels = rng.integers(0, 3, len(ignored_bboxes))

    near = np.vstack([gt_bboxes, ignored_bboxes])
    labels = np.concatenate([gt_labels, ignored_labels])
    repeats = 0 if blank else int(rng.integers(1, 4))
    det_bboxes = near.repeat(repeats, axis=0)
    det_bboxes += rng.normal(0, 4, det_bboxes.shape)
    det_labels = labels.repeat(repeats)
    strays = boxes(rng, 0 if blank else 4)
    det_bboxes = np.vstack([det_bboxes, strays])
    det_labels = np.concatenate([det_labels, rng.integers(0, 4, len(strays))])
    detected = det_labels != 2
    det_bboxes, det_labels = det_bboxes[detected], det_labels[detected]
    if len(det_bboxes) > 3:  # duplicate detection
        det_bboxes[2], det_labels[2] = det_bboxes[0], det_labels[0]
    scores = rng.random(len(det_bboxes))
    if ties:
        scores = scores.round(1)
    order = np.argsort(-scores, kind='stable')
    return dict(
        img_id=100 + index,
        img_path=f'{index}.jpg',
        height=200,
        width=200,
        bboxes=det_bboxes[order].astype(np.float32),
        scores=scores[order].astype(np.float32),
        labels=det_labels[order],
        gt_bboxes=gt_bboxes.astype(np.float32),
        gt_labels=gt_labels,
        ignored_bboxes=ignored_bboxes.astype(np.float32),
        ignored_labels=ignored_labels,
    )


@pytest.fixture(
    params=[(0, False), (1, True), (2, True)],
    ids=['distinct', 'ties', 'ties2'],
)
def images(request):
    seed, ties = request.param
    rng = np.random.default_rng(seed)
    return [make_image(rng, index, ties) for index in range(80)]


@pytest.fixture
def few_images():
    rng = np.random.default_rng(3)
    return [make_image(rng, index, True) for index in range(31)]


@pytest.fixture
def official(images):
    """P, R, F1, AP and labels as YOLOv9's val_dual computes them."""
    val_dual = pytest.importorskip('yolo9.val_dual')
    metrics = pytest.importorskip('yolo9.utils.metrics')
    iou_thrs = torch.linspace(0.5, 0.95, 10)
    stats = []
    for image in images:
        labels = torch.from_numpy(
            np.column_stack([image['gt_labels'], image['gt_bboxes']])
        ).float()
        preds = torch.from_numpy(
            np.column_stack(
                [image['bboxes'], image['scores'], image['labels']]
            )
        ).float()
        correct = torch.zeros(len(preds), 10, dtype=torch.bool)
        if len(preds) and len(labels):
            correct = val_dual.process_batch(preds, labels, iou_thrs)
        if len(preds) or len(labels):
            stats.append((correct, preds[:, 4], preds[:, 5], labels[:, 0]))
    stats = [torch.cat(column).numpy() for column in zip(*stats)]
    return metrics.ap_per_class(*stats, names={})[2:]


@pytest.fixture
def classes():
    return CLASSES


@pytest.fixture
def to_samples():
    """Turn images into what a model hands to a metric."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    def convert(images):
        samples = []
        for image in images:
            sample = DetDataSample(
                metainfo=dict(
                    img_id=image['img_id'],
                    img_path=image['img_path'],
                    ori_shape=(image['height'], image['width']),
                )
            )
            for field, prefix in (
                ('pred_instances', ''),
                ('gt_instances', 'gt_'),
                ('ignored_instances', 'ignored_'),
            ):
                instances = InstanceData(
                    bboxes=torch.from_numpy(image[f'{prefix}bboxes']),
                    labels=torch.from_numpy(image[f'{prefix}labels']),
                )
                setattr(sample, field, instances)
            sample.pred_instances.scores = torch.from_numpy(image['scores'])
            samples.append(sample.to_dict())
        return samples

    return convert
