import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from dsym.diffusion import ConditionalDiffusion
from dsym.diffusion.conditional_diffusion import union_mask
from dsym.errors import InputError

UNET = dict(
    sample_size=16,
    block_out_channels=(8, 16),
    layers_per_block=1,
    down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D'),
    up_block_types=('CrossAttnUpBlock2D', 'UpBlock2D'),
    attention_head_dim=4,
    norm_num_groups=4,
)
ENCODER = dict(type='DefectConditionEncoder', num_classes=6, dims=16)


def build(**options):
    torch.manual_seed(0)
    return ConditionalDiffusion(UNET, ENCODER, **options)


@pytest.fixture(scope='module')
def model():
    return build(drop_condition=0.0).eval()


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return dict(
        inputs=torch.rand(2, 1, 16, 16) * 2 - 1,
        labels=[torch.tensor([0, 4]), torch.tensor([5])],
        boxes=[
            torch.tensor([[0.1, 0.1, 0.4, 0.5], [0.5, 0.5, 0.9, 0.9]]),
            torch.tensor([[0.25, 0.25, 0.75, 0.75]]),
        ],
    )


def test_forward_process__is_eq_9_t_times(model):
    """q(x_t | x_0) of eq 9 chained: mean and variance of each step."""
    betas = model.scheduler.betas.double()
    mean, variance = torch.ones(()).double(), torch.zeros(()).double()
    for t, beta in enumerate(betas):
        mean = mean * (1 - beta).sqrt()
        variance = variance * (1 - beta) + beta
        alpha = model.scheduler.alphas_cumprod[t].double()
        assert float(mean**2) == pytest.approx(float(alpha), abs=1e-6)
        assert float(variance) == pytest.approx(1 - float(alpha), abs=1e-6)


def test_loss__is_eq_14(model, batch):
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        losses.append(model(**batch)['loss_diffusion'])
    torch.manual_seed(3)
    x = batch['inputs']
    noise = torch.randn_like(x)
    t = torch.randint(1000, (2,))
    alpha = model.scheduler.alphas_cumprod[t][:, None, None, None]
    noisy = alpha.sqrt() * x + (1 - alpha).sqrt() * noise
    mask = union_mask(batch['boxes'], 16)
    torch.rand(2)
    tokens = model.encode(batch['labels'], batch['boxes'])
    said = model.predict(noisy, t, x * (1 - mask), mask, tokens)
    assert losses[0] == losses[1]
    torch.testing.assert_close(losses[0], ((said - noise) ** 2).mean())


def test_paint__is_ddim_by_eq_15(model, batch):
    painted = model.paint(
        batch['inputs'],
        batch['labels'],
        batch['boxes'],
        num_steps=4,
        guidance=1.0,
        generator=torch.Generator().manual_seed(0),
    )
    x = torch.randn(
        batch['inputs'].shape, generator=torch.Generator().manual_seed(0)
    )
    mask = union_mask(batch['boxes'], 16)
    around = batch['inputs'] * (1 - mask)
    tokens = model.encode(batch['labels'], batch['boxes'])
    alphas = model.scheduler.alphas_cumprod
    with torch.no_grad():
        for t in (750, 500, 250, 0):
            a = alphas[t]
            before = alphas[t - 250] if t else torch.ones(())
            eps = model.predict(x, torch.tensor(t), around, mask, tokens)
            x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
            # diffusers keeps eps where it clips x0
            x = before.sqrt() * x0 + (1 - before).sqrt() * eps
    inside = mask.bool()
    torch.testing.assert_close(
        painted[inside], x.clamp(-1, 1)[inside], atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize('guidance', [1.0, 3.0])
def test_paint__leaves_what_is_outside(model, batch, guidance):
    painted = model.paint(**rename(batch), num_steps=2, guidance=guidance)
    outside = union_mask(batch['boxes'], 16) == 0
    assert torch.equal(painted[outside], batch['inputs'][outside])
    assert not torch.equal(painted, batch['inputs'])
    assert painted.abs().max() <= 1


def rename(batch):
    return dict(
        windows=batch['inputs'], labels=batch['labels'], boxes=batch['boxes']
    )


def test_min_snr_weights(model):
    weighted = build(min_snr=5.0)
    steps = torch.tensor([0, 500, 999])
    alphas = model.scheduler.alphas_cumprod[steps]
    snr = alphas / (1 - alphas)
    want = torch.minimum(snr, torch.tensor(5.0)) / snr
    torch.testing.assert_close(weighted.weights(steps), want)
    assert model.weights(steps).tolist() == [1, 1, 1]


def test_v_prediction__target(batch):
    model = build(
        scheduler=dict(prediction_type='v_prediction'), drop_condition=0.0
    )
    torch.manual_seed(3)
    loss = model(**batch)['loss_diffusion']
    torch.manual_seed(3)
    x = batch['inputs']
    noise = torch.randn_like(x)
    t = torch.randint(1000, (2,))
    alpha = model.scheduler.alphas_cumprod[t][:, None, None, None]
    noisy = alpha.sqrt() * x + (1 - alpha).sqrt() * noise
    mask = union_mask(batch['boxes'], 16)
    tokens = model.encode(batch['labels'], batch['boxes'])
    said = model.predict(noisy, t, x * (1 - mask), mask, tokens)
    v = alpha.sqrt() * noise - (1 - alpha).sqrt() * x
    torch.testing.assert_close(loss, ((said - v) ** 2).mean())


def test_it_learns(batch):
    model = build(drop_condition=0.0).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = model(**batch)['loss_diffusion']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    assert all(p.grad is not None for p in model.parameters())


def test_save_pretrained__loads_in_diffusers_and_here(model, batch, tmp_path):
    model.save_pretrained(tmp_path)
    unet = UNet2DConditionModel.from_pretrained(tmp_path / 'unet')
    DDIMScheduler.from_pretrained(tmp_path / 'scheduler')
    for key, value in model.unet.state_dict().items():
        assert torch.equal(value, unet.state_dict()[key])
    again = ConditionalDiffusion.from_pretrained(tmp_path)
    seeds = [torch.Generator().manual_seed(0) for _ in range(2)]
    first, second = (
        x.paint(**rename(batch), num_steps=2, generator=seed)
        for x, seed in zip((model, again), seeds)
    )
    assert torch.equal(first, second)


def test_no_model_in_a_folder(tmp_path):
    with pytest.raises(InputError, match=r'condition_encoder/config\.json'):
        ConditionalDiffusion.from_pretrained(tmp_path)


def test_unknown_block_of_the_unet():
    with pytest.raises(InputError, match='diffusers refuses'):
        ConditionalDiffusion(
            dict(UNET, down_block_types=('NoBlock', 'DownBlock2D')), ENCODER
        )
