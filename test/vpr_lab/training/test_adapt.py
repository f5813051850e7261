"""Domain adaptation against small cases worked by hand, and batches that hold all three domains."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from vpr_lab.training.adapt import (  # noqa: E402
    PSEUDO_TARGET,
    SOURCE,
    TARGET,
    Adaptation,
    AdaptedBatches,
    DomainClassifier,
    brighten,
    fourier_adapt,
    night_tint,
    reverse_gradient,
)
from vpr_lab.training.augment import Augmentation  # noqa: E402
from vpr_lab.training.datasets import PlaceBatches, Shard, find_places  # noqa: E402
from vpr_ros.base import config  # noqa: E402
from vpr_ros.base.errors import ConfigError, DriveError  # noqa: E402

SIZE = 32
NO_AUGMENTATION = Augmentation(viewpoint=0, colour=0, gamma=0, tint=0, grey=0, blur=0, noise=0, shadow=0, occlusion=0)


def textures(seed: int, low: int, high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (*shape, 3), dtype=np.uint8)


def shard(name: str, seed: int, low: int, high: int, frames: int = 12) -> Shard:
    """Frames 30 m apart along a straight street."""
    position = np.stack([30.0 * np.arange(frames), np.zeros(frames), np.zeros(frames)], 1)
    depth = np.full((frames, SIZE // 4, SIZE // 4), 10, np.float16)
    return Shard("town", name, textures(seed, low, high, frames, SIZE, SIZE), depth, position, np.zeros(frames))


def batches(adaptation: Adaptation, seed: int = 0, augmentation: Augmentation | None = None) -> AdaptedBatches:
    """Source images of 100 and more, target images below 50."""
    sources = [shard("sun", 1, 100, 200), shard("rain", 2, 100, 200)]
    base = PlaceBatches(sources, find_places(sources), NO_AUGMENTATION, 3, 6, 2, worlds_per_batch=1)
    return AdaptedBatches(
        base, [shard("night", 3, 0, 50, 5), shard("dusk", 4, 0, 50, 7)], adaptation, augmentation, seed
    )


@pytest.mark.parametrize("shape", [(16, 20), (17, 15)])
def test_fourier_adaptation_swaps_amplitudes_and_keeps_phases(shape: tuple[int, int]) -> None:
    """The method is exactly this: low frequencies as loud as the target's, all else the source's.

    beta 0.15 of the smaller side (16, 15) is a half-width of 2: frequencies -2..2 of both axes, even and odd sizes.
    Neither image has extreme values, so that nothing is clipped; what is left is rounding to whole levels, at most
    half a level for each of the pixels.
    """
    source, target = textures(0, 110, 150, *shape), textures(1, 80, 130, *shape)
    adapted = fourier_adapt(source, target, beta=0.15)
    assert adapted.dtype == np.uint8 and adapted.shape == source.shape
    assert adapted.min() > 0 and adapted.max() < 255, "this case must not clip"
    of_source, of_target, of_adapted = (
        np.fft.fft2(image.astype(float), axes=(0, 1)) for image in (source, target, adapted)
    )
    rows, columns = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in shape), indexing="ij")
    inside = (np.abs(rows) <= 2) & (np.abs(columns) <= 2)
    assert inside.sum() == 25
    expected = np.where(inside[..., None], np.abs(of_target) * np.exp(1j * np.angle(of_source)), of_source)
    by_hand = np.fft.ifft2(expected, axes=(0, 1))
    assert np.abs(by_hand.imag).max() < 1e-9 and np.abs(adapted - by_hand.real).max() <= 0.5 + 1e-9
    rounding = 5 * np.sqrt(np.prod(shape) / 12)
    assert np.abs(np.abs(of_adapted) - np.abs(of_target))[inside].max() < rounding
    assert np.abs(of_adapted - of_source)[~inside].max() < rounding
    loud = inside[..., None] & (np.abs(of_target) > 20 * rounding)
    assert loud.any() and np.abs(np.angle(of_adapted / of_source))[loud].max() < 0.1


@pytest.mark.parametrize("beta", [0.0, 0.0025, 0.2, 0.5])
def test_an_image_adapted_to_itself_stays_itself(beta: float) -> None:
    """Adaptation must add nothing of its own: no blur, no shift by one level, at any window up to the whole."""
    for image in (textures(0, 0, 256, 24, 24), textures(0, 0, 256, 15, 22)):
        assert np.array_equal(fourier_adapt(image, image, beta), image)


def test_published_beta_moves_only_the_mean_at_224() -> None:
    """0.0025 x 224 is below one: each channel gets the target's mean and nothing else, which the docstring promises."""
    source, target = textures(0, 100, 140, 224, 224), textures(1, 40, 90, 224, 224)
    shift = target.mean((0, 1)) - source.mean((0, 1))
    assert np.abs(fourier_adapt(source, target) - (source + shift)).max() <= 0.5 + 1e-6
    # Lit from one side, the target's slowest waves are loud: from 1/224 on they come along.
    target = (target + np.linspace(0, 100, 224)[None, :, None]).astype(np.uint8)
    shift = target.mean((0, 1)) - source.mean((0, 1))
    assert np.abs(fourier_adapt(source, target, beta=0.99 / 224) - (source + shift)).max() <= 0.5 + 1e-6
    assert np.abs(fourier_adapt(source, target, beta=1 / 224) - (source + shift)).max() > 10


def test_fourier_adaptation_clips_and_takes_targets_of_other_sizes() -> None:
    """A bright detail on a bright target must saturate, not wrap round to black; drives differ in size."""
    source = np.full((16, 16, 3), 100, np.uint8)
    source[4, 4] = 250
    adapted = fourier_adapt(source, np.full((40, 30, 3), 240, np.uint8))
    assert adapted.shape == source.shape and (adapted[4, 4] == 255).all() and adapted[0, 0, 0] == 239


def test_night_tint_by_hand() -> None:
    """Luminance of (200, 100, 50) is 124.2; 0.7 of the colour is (177.26, 107.26, 72.26); times (180, 219, 255)/255."""
    image = np.array([[[200, 100, 50], [255, 255, 255], [0, 0, 0]]], np.uint8)
    assert night_tint(image).tolist() == [[[125, 92, 72], [180, 219, 255], [0, 0, 0]]]


def test_brightness_filter_multiplies() -> None:
    """A factor of 0.15 must darken a day image to 15 %, like torchvision's filter; no wrap-round above 255."""
    image = np.array([[[200, 100, 0]]], np.uint8)
    assert brighten(image, 0.15).tolist() == [[[30, 15, 0]]] and brighten(image, 1.0).tolist() == image.tolist()
    assert brighten(image, 2.0).tolist() == [[[255, 200, 0]]] and brighten(image[None], 0.5).dtype == np.uint8


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 2.5])
def test_reversed_gradient_is_minus_strength_times_the_numeric_one(strength: float) -> None:
    """The sign is the whole method: forward is the identity, backward -lambda times the true (numeric) gradient."""
    x = torch.linspace(-1, 2, 7, dtype=torch.float64, requires_grad=True)

    def cost(y: torch.Tensor) -> torch.Tensor:
        return (y.sin() * y**2).sum()

    assert torch.equal(reverse_gradient(x, strength), x)
    (gradient,) = torch.autograd.grad(cost(reverse_gradient(x, strength)), x)
    steps = 1e-6 * torch.eye(7, dtype=torch.float64)
    numeric = torch.stack([(cost(x + step) - cost(x - step)) / 2e-6 for step in steps]).detach()
    assert torch.allclose(gradient, -strength * numeric, atol=1e-7)


def domain_toy(strength: float, seed: int) -> tuple[float, float]:
    """Train an encoder of one angle, which mixes a channel that shows the domain with one that does not.

    Returns the classifier's accuracy in the end, and how far the domains' mean features lie apart: 2 |cos angle|.
    """
    torch.manual_seed(seed)
    domains = torch.arange(128) % 2
    inputs = torch.randn(128, 2, 2, 2)
    inputs[:, 0] += (2.0 * domains - 1)[:, None, None]
    angle, classifier = torch.nn.Parameter(torch.tensor(0.5)), DomainClassifier(1, 2, strength)
    optimiser = torch.optim.SGD([{"params": [angle], "lr": 0.02}, {"params": classifier.parameters(), "lr": 0.5}])
    for _ in range(400):
        features = angle.cos() * inputs[:, :1] + angle.sin() * inputs[:, 1:]
        optimiser.zero_grad()
        classifier.loss(features, domains).backward()
        optimiser.step()
    accuracy = (classifier(features).argmax(1) == domains).float().mean().item()
    return accuracy, 2 * abs(angle.cos().item())


@pytest.mark.parametrize("seed", [0, 1])
def test_classifier_learns_and_reversed_features_confuse_it(seed: int) -> None:
    """The classifier must learn where the encoder does not resist (strength 0); the encoder must win where it does."""
    accuracy, gap = domain_toy(0.0, seed)
    assert accuracy > 0.9 and gap == pytest.approx(2 * np.cos(0.5))
    accuracy, gap = domain_toy(1.0, seed)
    assert accuracy < 0.7 and gap < 0.3


def test_classifier_is_the_published_one() -> None:
    """Pooled over positions, 50, 20, one output a domain; the loss is the mean cross entropy, about ln 3 untrained."""
    classifier = DomainClassifier(8)
    shapes = [tuple(layer.weight.shape) for layer in classifier.layers if isinstance(layer, torch.nn.Linear)]
    assert shapes == [(50, 8), (20, 50), (3, 20)]
    features, domains = torch.randn(6, 8, 4, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    logits = classifier(features)
    assert logits.shape == (6, 3)
    assert torch.allclose(logits, classifier(features.flip(2).flip(3)), atol=1e-6), "positions must not matter"
    by_hand = -torch.log_softmax(logits, 1)[torch.arange(6), domains].mean()
    assert torch.allclose(classifier.loss(features, domains), by_hand) and 0.7 < by_hand.item() < 1.6


def test_batches_hold_all_three_domains_with_true_labels() -> None:
    """The published code fed the source twice and never the pseudo-target: labels must say what the pixels are.

    Source images are brighter than 100, those of the target darker than 50; the pseudo-target has the target's mean.
    """
    adapted = batches(Adaptation(night_tint=False, target_images=5))
    plain = adapted.base[1]
    batch = adapted[1]
    count = len(batch["images"])
    assert count == 12 and batch["domain_images"].shape == (5, SIZE, SIZE, 3)
    assert (
        batch["images"].dtype == batch["domain_images"].dtype == torch.uint8 and batch["domains"].dtype == torch.int64
    )
    assert torch.bincount(batch["domains"]).tolist() == [8, 4, 5] and len(batch["domains"]) == count + 5
    assert (batch["domains"][count:] == TARGET).all() and batch["domain_images"].max() < 50
    for image, before, domain in zip(batch["images"], plain["images"], batch["domains"][:count], strict=True):
        if domain == SOURCE:
            assert torch.equal(image, before)
        else:
            assert domain == PSEUDO_TARGET and 20 < image.float().mean() < 55
            assert torch.corrcoef(torch.stack([image.flatten(), before.flatten()]).float())[0, 1] > 0.8
    assert all(torch.equal(batch[key], plain[key]) for key in ("depth", "labels", "drives"))


def test_night_tint_goes_on_adapted_images_alone() -> None:
    """The tint belongs to the pseudo-target: a cold day image labelled source would teach the wrong domain."""
    grey, tinted = batches(Adaptation(night_tint=False))[0], batches(Adaptation(night_tint=True))[0]
    assert torch.equal(grey["domains"], tinted["domains"])
    for before, after, domain in zip(grey["images"], tinted["images"], grey["domains"], strict=False):
        expected = night_tint(before.numpy()) if domain == PSEUDO_TARGET else before.numpy()
        assert np.array_equal(after.numpy(), expected)


def test_what_is_drawn_depends_on_seed_epoch_and_number_alone() -> None:
    """A run resumed in the middle must see the batches it would have seen; the epoch must reach the base."""
    first, again, other_seed = (batches(Adaptation(), seed) for seed in (0, 0, 1))
    assert len(first) == 3
    again[0]  # what was drawn before must not matter
    assert all(torch.equal(first[2][key], again[2][key]) for key in first[2])
    assert not torch.equal(first[2]["domain_images"], other_seed[2]["domain_images"])
    again.epoch = 1
    assert again.epoch == again.base.epoch == 1
    assert not torch.equal(first[2]["images"], again[2]["images"])
    assert not torch.equal(first[2]["domain_images"], again[2]["domain_images"])


def test_share_of_adapted_images_and_augmented_targets() -> None:
    """Zero must adapt nothing (reversal alone is a row of its own), one all; targets get the source's augmentation."""
    none, every = batches(Adaptation(fourier_share=0.0))[0], batches(Adaptation(fourier_share=1.0))[0]
    assert torch.bincount(none["domains"], minlength=3).tolist() == [12, 0, 16]
    assert torch.equal(none["images"], batches(Adaptation()).base[0]["images"])
    assert torch.bincount(every["domains"], minlength=3).tolist() == [0, 12, 16]
    noisy = Augmentation(**{**config.to_dict(NO_AUGMENTATION), "noise": 80.0})
    assert batches(Adaptation(), augmentation=noisy)[0]["domain_images"].max() > 60


def test_users_mistakes_are_named() -> None:
    """No target images, or a share above one, must be one sentence before training, not a traceback in a worker."""
    adapted = batches(Adaptation())
    with pytest.raises(DriveError, match="target"):
        AdaptedBatches(adapted.base, [], Adaptation())
    with pytest.raises(ConfigError, match="fourier_share"):
        config.from_dict(Adaptation, {"fourier_share": 1.5})
    with pytest.raises(ConfigError, match="beta"):
        config.from_dict(Adaptation, {"beta": 0.7})


def test_batches_load_in_workers() -> None:
    """A training loop reads them through a DataLoader's processes: they must travel there and come back the same."""
    adapted = batches(Adaptation())
    loader = torch.utils.data.DataLoader(adapted, batch_size=None, num_workers=1)
    for number, batch in enumerate(loader):
        assert torch.equal(batch["domains"], adapted[number]["domains"])
        assert torch.equal(batch["images"], adapted[number]["images"])
