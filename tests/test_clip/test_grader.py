"""CLIPGrader: its loss by hand, a few steps, the same embeddings as asked."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from PIL import Image
from tiny_clip import RESNET, SIZE, VIT, tiny_clip

from dsym.clip import save_clip
from dsym.clip.region_targets import soft_targets
from dsym.clip.scorer import CLIPScorer
from dsym.errors import InputError

PROMPTS = dict(
    misplaced=('a part of {defect_type}',), normal=('flawless steel',)
)
CLASSES = ('crazing', 'scratches')
BOXES = torch.tensor([[8.0, 8, 40, 36], [44, 30, 60, 62]])


def build(model_cfg=RESNET, way='dense', **options):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='CLIPGrader',
            clip=dict(model_cfg=model_cfg),
            classes=CLASSES,
            prompts=PROMPTS,
            regions=dict(way=way, image_size=SIZE),
            **options,
        )
    )


def batch(boxes=BOXES):
    """Bright squares on dark noise: one class of each colour."""
    generator = torch.Generator().manual_seed(0)
    inputs = 60 * torch.rand(2, 3, SIZE, SIZE, generator=generator)
    samples = []
    for i in range(2):
        for label, (x1, y1, x2, y2) in enumerate(boxes.long().tolist()):
            inputs[i, label, y1:y2, x1:x2] += 190
        sample = DetDataSample(
            metainfo=dict(img_id=i, batch_input_shape=(SIZE, SIZE))
        )
        sample.gt_instances = InstanceData(
            bboxes=boxes.clone(), labels=torch.arange(len(boxes))
        )
        samples.append(sample)
    return inputs, samples


def draw(model, samples, seed=0):
    torch.manual_seed(seed)
    return [model.sampler(x.gt_instances, SIZE, SIZE) for x in samples]


@pytest.mark.parametrize('model_cfg, way', [(RESNET, 'dense'), (VIT, 'crops')])
def test_loss__cross_entropy_over_all_groups(model_cfg, way):
    model = build(model_cfg, way).eval()
    inputs, samples = batch()
    drawn = draw(model, samples)
    logits = model.logits(inputs, [x.boxes for x in drawn])
    assert logits.shape == (sum(len(x.boxes) for x in drawn), 5)
    targets = soft_targets(drawn, 2, (0.35, 0.65))
    expected = -(targets * logits.log_softmax(1)).sum(1).mean()
    torch.manual_seed(0)
    losses = model(inputs, samples, 'loss')
    torch.testing.assert_close(losses['loss'], expected)
    right = logits.argmax(1) == targets.argmax(1)
    assert float(losses['accuracy']) == pytest.approx(
        int(right.sum()) / len(right)
    )


@pytest.mark.parametrize('model_cfg, way', [(RESNET, 'dense'), (VIT, 'crops')])
def test_steps__loss_of_a_fixed_batch_falls(model_cfg, way):
    model = build(model_cfg, way).train()
    inputs, samples = batch()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    values = []
    for _ in range(12):
        torch.manual_seed(0)
        loss = model(inputs, samples, 'loss')['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.8 * values[0]


def test_detected_boxes__are_graded_too():
    model = build().eval()
    inputs, samples = batch()
    plain = model(inputs, samples, 'predict')
    counts = [len(x.regions) for x in plain]
    # exactly the first defect, and nothing
    boxes = torch.tensor([[8.0, 8, 40, 36], [2, 44, 30, 62]])
    for sample in samples:
        sample.detected = InstanceData(bboxes=boxes, labels=torch.zeros(2))
    both = model(inputs, samples, 'predict')
    for sample, count in zip(both, counts):
        assert len(sample.regions) == count + 2
        ious = sorted(sample.regions.ious[count:].tolist())
        assert ious == pytest.approx([0, 1])
    torch.manual_seed(0)
    drawn = [
        model.sampler(x.gt_instances, SIZE, SIZE, None, x.detected)
        for x in samples
    ]
    logits = model.logits(inputs, [x.boxes for x in drawn])
    targets = soft_targets(drawn, 2, (0.35, 0.65))
    expected = -(targets * logits.log_softmax(1)).sum(1).mean()
    torch.manual_seed(0)
    losses = model(inputs, samples, 'loss')
    torch.testing.assert_close(losses['loss'], expected)


def test_frozen_text__has_no_gradient():
    model = build(freeze_text=True)
    model(*batch(), 'loss')['loss'].backward()
    clip = model.clip.model
    assert clip.text_projection.grad is None
    assert all(x.grad is None for x in clip.transformer.parameters())
    assert clip.visual.conv1.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_predict__is_the_same_whenever_it_is_asked():
    model = build().eval()
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        inputs, samples = batch()
        if seed:  # nor does the order count
            inputs, samples = inputs.flip(0), samples[::-1]
        samples = model(inputs, samples, 'predict')
        found.append(sorted(samples, key=lambda x: x.img_id))
    for one, two in zip(*found):
        assert one.regions.grades.shape == (len(one.regions), 2)
        assert one.regions.grades.sum(1).max() < 1
        for key in ('bboxes', 'labels', 'ious', 'grades'):
            torch.testing.assert_close(one.regions[key], two.regions[key])


@torch.no_grad()
@pytest.mark.parametrize('model_cfg, way', [(RESNET, 'dense'), (VIT, 'crops')])
def test_embedding__is_what_the_filter_asks(tmp_path, model_cfg, way):
    model = build(model_cfg, way).eval()
    inputs = batch()[0].round()
    paths = [str(tmp_path / f'{i}.png') for i in range(2)]
    for path, image in zip(paths, inputs.byte()):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    scorer = CLIPScorer(
        model.clip, model.prompts, model.regions, cache_dir=str(tmp_path)
    )
    found = scorer.region_scores(paths, [BOXES] * 2, [(SIZE, SIZE)] * 2)
    expected = model.logits(inputs, [BOXES] * 2).softmax(1)[:, :2]
    torch.testing.assert_close(
        torch.cat(found), expected, rtol=5e-3, atol=2e-3
    )


def test_images_without_defects__have_no_loss():
    model = build().train()
    loss, _ = model.parse_losses(model(*batch(BOXES[:0]), 'loss'))
    loss.backward()
    assert loss.item() == 0
    for key, value in model.state_dict().items():
        assert value.isfinite().all(), key
    for value in model.parameters():
        assert value.grad is None or not value.grad.any()
    samples = model.eval()(*batch(BOXES[:0]), 'predict')
    assert [x.regions.grades.shape for x in samples] == [(0, 2)] * 2


def test_settings__go_with_the_saved_model(tmp_path):
    model = build()
    save_clip(model.clip, tmp_path, half=False)
    again = MODELS.build(
        dict(
            type='CLIPGrader',
            clip=str(tmp_path),
            classes=CLASSES,
            prompts=PROMPTS,
        )
    )
    assert again.clip.fingerprint() == tiny_clip().fingerprint()
    assert model.clip.settings['regions']['way'] == 'dense'
    assert model.clip.settings['prompts']['classes'] == CLASSES


@pytest.mark.parametrize('missing', ['misplaced', 'normal'])
def test_prompts__of_all_kinds_are_needed(missing):
    prompts = {k: v for k, v in PROMPTS.items() if k != missing}
    with pytest.raises(InputError, match=r'prompts\.misplaced or .*normal'):
        MODELS.build(
            dict(
                type='CLIPGrader',
                clip=dict(model_cfg=RESNET),
                classes=CLASSES,
                prompts=prompts,
            )
        )


def test_dense_vit__is_refused():
    with pytest.raises(InputError, match="way='crops'"):
        build(VIT, 'dense')
