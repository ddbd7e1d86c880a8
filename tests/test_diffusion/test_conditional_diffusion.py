import pytest
import torch
from tiny_diffusion import ENCODER, UNET
from tiny_diffusion import tiny_diffusion as build
from torch.nn import functional as F

from dsym.diffusion import ConditionalDiffusion
from dsym.diffusion.conditional_diffusion import union_mask
from dsym.errors import InputError


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


def predicted(model, batch):
    """Noise, alpha and what the model says of x_t by eq 10, for seed 3."""
    torch.manual_seed(3)
    x = batch['inputs']
    noise = torch.randn_like(x)
    t = torch.randint(1000, (2,))
    alpha = model.scheduler.alphas_cumprod[t][:, None, None, None]
    noisy = alpha.sqrt() * x + (1 - alpha).sqrt() * noise
    mask = union_mask(batch['boxes'], 16)
    tokens = model.encode(batch['labels'], batch['boxes'])
    said = model.predict(noisy, t, x * (1 - mask), mask, tokens)
    return noise, alpha, said


def test_loss__is_eq_14(model, batch):
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        losses.append(model(**batch)['loss_diffusion'])
    noise, _, said = predicted(model, batch)
    assert losses[0] == losses[1]
    torch.testing.assert_close(losses[0], ((said - noise) ** 2).mean())


def test_paint__is_ddim_by_eq_15(model, batch):
    noise = torch.randn(batch['inputs'].shape)
    painted = model.paint(
        batch['inputs'],
        batch['labels'],
        batch['boxes'],
        num_steps=4,
        guidance=1.0,
        noise=noise,
    )
    x = noise
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
    noise, alpha, said = predicted(model, batch)
    x = batch['inputs']
    v = alpha.sqrt() * noise - (1 - alpha).sqrt() * x
    torch.testing.assert_close(loss, ((said - v) ** 2).mean())


def test_min_snr__of_v_multiplies_the_loss(batch):
    """min(snr, gamma) / (snr + 1), where snr = a / (1 - a)."""
    model = build(
        scheduler=dict(prediction_type='v_prediction'),
        drop_condition=0.0,
        min_snr=5.0,
    )
    torch.manual_seed(3)
    loss = model(**batch)['loss_diffusion']
    noise, alpha, said = predicted(model, batch)
    v = alpha.sqrt() * noise - (1 - alpha).sqrt() * batch['inputs']
    snr = alpha / (1 - alpha)
    weight = snr.clamp(max=5) / (snr + 1)
    assert weight.flatten()[0] != weight.flatten()[1]
    torch.testing.assert_close(loss, (weight * (said - v) ** 2).mean())


def test_drop_condition__leaves_the_tokens_of_nothing(batch):
    """The mask stays: where to paint is told by it as well."""
    model = build(drop_condition=1.0)
    torch.manual_seed(3)
    loss = model(**batch)['loss_diffusion']
    empty = dict(labels=[x[:0] for x in batch['labels']])
    empty['boxes'] = [x[:0] for x in batch['boxes']]
    x = batch['inputs']
    torch.manual_seed(3)
    noise, t = torch.randn_like(x), torch.randint(1000, (2,))
    alpha = model.scheduler.alphas_cumprod[t][:, None, None, None]
    noisy = alpha.sqrt() * x + (1 - alpha).sqrt() * noise
    mask = union_mask(batch['boxes'], 16)
    said = model.predict(noisy, t, x * (1 - mask), mask, model.encode(**empty))
    torch.testing.assert_close(loss, ((said - noise) ** 2).mean())
    told = model.predict(
        noisy,
        t,
        x * (1 - mask),
        mask,
        model.encode(batch['labels'], batch['boxes']),
    )
    assert not torch.allclose(told, said)


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


def test_paint__noise_is_drawn_if_none_is_given(model, batch):
    torch.manual_seed(5)
    drawn = model.paint(**rename(batch), num_steps=2)
    torch.manual_seed(5)
    noise = torch.randn(batch['inputs'].shape)
    given = model.paint(**rename(batch), num_steps=2, noise=noise)
    assert torch.equal(drawn, given)


def test_guidance__moves_away_from_what_is_said_of_nothing(model, batch):
    """Two steps by hand, with eps = eps_0 + w (eps_c - eps_0)."""
    windows, boxes = batch['inputs'], batch['boxes']
    x = torch.randn(windows.shape)
    painted = model.paint(
        **rename(batch), num_steps=2, guidance=3.0, noise=x.clone()
    )
    mask = union_mask(boxes, 16)
    around = windows * (1 - mask)
    nothing = [torch.zeros(0).long()] * 2, [torch.zeros(0, 4)] * 2
    alphas = model.scheduler.alphas_cumprod
    with torch.no_grad():
        tokens = model.encode(batch['labels'], boxes), model.encode(*nothing)
        for t, before in ((500, alphas[0]), (0, torch.ones(()))):
            with_it, without = (
                model.predict(x, torch.tensor(t), around, mask, y)
                for y in tokens
            )
            eps = without + 3 * (with_it - without)
            a = alphas[t]
            x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
            x = before.sqrt() * x0 + (1 - before).sqrt() * eps
    inside = mask.bool()
    torch.testing.assert_close(
        painted[inside], x.clamp(-1, 1)[inside], atol=1e-4, rtol=1e-4
    )


def test_patch__unet_sees_a_patch_as_channels_of_one_place(batch):
    model = build(patch=2, drop_condition=0.0).eval()
    assert model.size == 32
    config = model.unet.config
    # noisy, surroundings and mask of 2 x 2 px; the noise of as many
    assert (config.in_channels, config.out_channels) == (12, 4)
    seen = []
    model.unet.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = F.interpolate(batch['inputs'], 32)
    mask = union_mask(batch['boxes'], 32)
    tokens = model.encode(batch['labels'], batch['boxes'])
    with torch.no_grad():
        said = model.predict(x, torch.tensor(3), 0.5 * x, mask, tokens)
    assert seen[0].shape == (2, 12, 16, 16) and said.shape == x.shape
    for channel, whole in enumerate((x, 0.5 * x, mask)):
        for dy in (0, 1):
            for dx in (0, 1):
                place = seen[0][:, 4 * channel + 2 * dy + dx]
                assert torch.equal(place, whole[:, 0, dy::2, dx::2])


def test_patch__paint_leaves_what_is_outside(batch):
    model = build(patch=2).eval()
    batch['inputs'] = torch.rand(2, 1, 32, 32) * 2 - 1
    painted = model.paint(**rename(batch), num_steps=2)
    outside = union_mask(batch['boxes'], 32) == 0
    assert torch.equal(painted[outside], batch['inputs'][outside])
    assert not torch.equal(painted[~outside], batch['inputs'][~outside])


def test_unknown_block_of_the_unet():
    with pytest.raises(InputError, match='diffusers refuses'):
        ConditionalDiffusion(
            dict(UNET, down_block_types=('NoBlock', 'DownBlock2D')), ENCODER
        )


def test_contrast__brightness_of_the_surroundings_is_taken_off(batch):
    """Brighter windows get the same painting, as much brighter."""
    model = build(contrast=0.25).eval()
    windows = batch['inputs'] * 0.2
    options = dict(num_steps=4, noise=torch.randn(windows.shape))
    dark, bright = (
        model.paint(**dict(rename(batch), windows=windows + x), **options)
        for x in (-0.25, 0.125)
    )
    free = (dark.abs() < 1) & (bright.abs() < 1)
    assert free.float().mean() > 0.5
    torch.testing.assert_close(
        (bright - dark)[free].std(), torch.zeros(()), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        (bright - dark)[free].mean(), torch.tensor(0.375), atol=1e-3, rtol=0
    )


def test_contrast__of_a_window_that_is_all_mask(batch):
    """Without surroundings the window's own brightness."""
    model = build(contrast=0.25)
    windows = batch['inputs']
    mask = torch.ones(len(windows), 1, 16, 16)
    mask[1, :, :8] = 0
    found = model.base(windows, mask).flatten()
    assert found[0] == pytest.approx(float(windows[0].mean()), abs=1e-6)
    assert found[1] == pytest.approx(float(windows[1, :, :8].mean()), abs=1e-6)


def test_contrast__is_what_the_unet_sees(batch):
    torch.manual_seed(3)
    model = build(contrast=0.25, drop_condition=0.0)
    x = batch['inputs']
    mask = union_mask(batch['boxes'], 16)
    means = [a[m == 0].mean() for a, m in zip(x, mask)]
    shown = (x - torch.stack(means)[:, None, None, None]) / 0.25
    plain = build(drop_condition=0.0)
    plain.load_state_dict(model.state_dict())
    losses = []
    for part, inputs in ((model, x), (plain, shown)):
        torch.manual_seed(4)
        losses.append(part(**dict(batch, inputs=inputs))['loss_diffusion'])
    torch.testing.assert_close(*losses)


def test_outside__weighs_less(batch):
    """With weight 0 the loss is the mean over the boxes alone."""
    model = build(outside=0.0, drop_condition=0.0)
    torch.manual_seed(3)
    loss = model(**batch)['loss_diffusion']
    noise, _, said = predicted(model, batch)
    mask = union_mask(batch['boxes'], 16)
    each = [e[m == 1].mean() for e, m in zip((said - noise) ** 2, mask)]
    torch.testing.assert_close(loss, torch.stack(each).mean())


VELOCITY = dict(prediction_type='v_prediction')


@pytest.mark.parametrize('t', [0, 40, 500, 998])
def test_sigma_data__is_edms_denoiser(batch, t):
    """D(x; sigma) = c_skip x + c_out F(c_in x) of EDM's table 1."""
    deviation = 0.4
    model = build(scheduler=VELOCITY, sigma_data=deviation).eval()
    plain = build(scheduler=VELOCITY).eval()
    plain.load_state_dict(model.state_dict())
    alpha = model.scheduler.alphas_cumprod[t].double()
    a, s = alpha.sqrt(), (1 - alpha).sqrt()
    sigma = s / a
    total = (sigma**2 + deviation**2).sqrt()
    noisy = torch.randn(batch['inputs'].shape)
    mask = union_mask(batch['boxes'], 16)
    rest = (
        torch.tensor(t),
        batch['inputs'] * (1 - mask),
        mask,
        model.encode(batch['labels'], batch['boxes']),
    )
    x = noisy.double() / a
    said = plain.predict((x / total).float(), *rest).double()
    denoised = deviation**2 / total**2 * x + sigma * deviation / total * said
    expected = (a * noisy.double() - denoised) / s
    found = model.predict(noisy, *rest).double()
    # near the first step the right side is a small difference of large ones
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-3)


def test_sigma_data__of_1_is_v_itself(batch):
    """But for its sign, which a UNet learns."""
    model = build(scheduler=VELOCITY, sigma_data=1.0).eval()
    factors = model.precondition(torch.tensor([0, 500, 999]))
    for found, expected in zip(factors, (0.0, -1.0, 1.0)):
        torch.testing.assert_close(found.flatten(), torch.full((3,), expected))


def test_sigma_data__a_unet_that_says_nothing_is_right_about_white_noise():
    """The best guess of white texture: the error of v is sigma_data^2 / k."""
    model = build(scheduler=VELOCITY, sigma_data=0.3).eval()
    for x in model.unet.conv_out.parameters():
        torch.nn.init.zeros_(x)
    torch.manual_seed(0)
    texture = 0.3 * torch.randn(64, 1, 16, 16)
    nothing = torch.zeros(64, 1, 16, 16)
    tokens = model.encode(
        [torch.zeros(0).long()] * 64, [torch.zeros(0, 4)] * 64
    )
    for t in (50, 300, 700):
        steps = torch.full((64,), t)
        noise = torch.randn_like(texture)
        noisy = model.scheduler.add_noise(texture, noise, steps)
        with torch.no_grad():
            said = model.predict(noisy, steps, nothing, nothing, tokens)
        v = model.scheduler.get_velocity(texture, noise, steps)
        alpha = float(model.scheduler.alphas_cumprod[t])
        k = 1 - alpha + alpha * 0.3**2
        error = float(((said - v) ** 2).mean())
        assert error == pytest.approx(0.3**2 / k, rel=0.05)


def test_prediction_of_the_sample__is_refused():
    with pytest.raises(InputError, match="prediction_type='sample' is not"):
        build(scheduler=dict(prediction_type='sample'))


def test_sigma_data__of_noise_prediction_is_refused():
    with pytest.raises(InputError, match='is for scheduler=dict'):
        build(sigma_data=0.3)
