"""The options of the ablation: what each does by the numbers, and that they leave older recipes alone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy is not installed")

from vpr_lab.training.augment import ERASED_RGB, Augmentation, _noise, augment, turn_hue

STILL = dict.fromkeys(
    ("viewpoint", "colour", "gamma", "tint", "grey", "blur", "noise", "shadow", "occlusion"), 0.0
)  # fmt: skip
SIZE = 64


def ramp(height: int = SIZE, width: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red is its column and green its row, and depth a quarter as large that says the same in metres."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([columns, rows, np.full_like(rows, 200)], -1).astype(np.uint8)
    depth = (columns + 1000 * rows)[2::4, 2::4].astype(np.float32)
    return image, depth


def test_recipes_keep_their_images() -> None:
    """Options that are off must draw nothing: else a published model's seed no longer gives its training images.

    The figures were written down when noise came to be drawn as bytes, before the shipped model was trained.
    """
    image, depth = ramp()
    rng = np.random.default_rng(7)
    versions = [augment(image, depth, Augmentation(), rng) for _ in range(20)]
    assert np.mean([version.mean() for version, _ in versions]) == pytest.approx(86.507, abs=0.5)
    assert rng.random() == pytest.approx(0.9075828219504257, abs=1e-12)


@pytest.mark.parametrize("sigma", [3.0, 100.0])
def test_noise_is_normal(sigma: float) -> None:
    """It is looked up among 256 values: their spread must be the one asked for, also past what fits a byte."""
    grey = np.full((256, 256, 3), 128, np.uint8)
    noisy = _noise(grey, sigma, np.random.default_rng(0)).astype(float)
    expected = np.clip(128 + sigma * np.random.default_rng(1).standard_normal(10**6), 0, 255)
    assert noisy.mean() == pytest.approx(128, abs=0.6) and noisy.std() == pytest.approx(expected.std(), rel=0.02)


def test_all_off_changes_nothing() -> None:
    """Zero must mean off for every option, or an ablation's baseline is none."""
    image, depth = ramp()
    same, same_depth = augment(image, depth, Augmentation(**STILL), np.random.default_rng(0))
    assert np.abs(same.astype(int) - image).max() <= 1 and np.array_equal(same_depth, depth)


def test_flip_mirrors_depth_with_the_image() -> None:
    """Depth left behind would teach the decoder a mirrored street's geometry; every image at 1, about half at 0.5."""
    image, depth = ramp()
    rng = np.random.default_rng(0)
    mirrored, mirrored_depth = augment(image, depth, Augmentation(**STILL, flip=1.0), rng)
    assert np.abs(mirrored.astype(int) - image[:, ::-1]).max() <= 1 and np.array_equal(mirrored_depth, depth[:, ::-1])
    halves = [augment(image, depth, Augmentation(**STILL, flip=0.5), rng)[1] for _ in range(100)]
    assert 30 < sum(np.array_equal(half, mirrored_depth) for half in halves) < 70


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 64)])
def test_crop_takes_depth_along_and_enough_of_the_area(height: int, width: int) -> None:
    """Every depth pixel must still belong to the image's pixel over it, and no crop may leave out more than asked."""
    image, depth = ramp(height, width)
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(50):
        cropped, cropped_depth = augment(image, depth, Augmentation(**STILL, crop=0.5), rng)
        assert cropped.shape == image.shape and cropped_depth.shape == depth.shape
        assert np.isin(cropped_depth, depth).all(), "depths must be picked, never mixed"
        columns, rows = cropped_depth % 1000, cropped_depth // 1000
        # The nearest depth pixel is at most half a stride (2) away, the image under it half a pixel more.
        assert np.abs(columns - cropped[2::4, 2::4, 0]).max() <= 3.5
        assert np.abs(rows - cropped[2::4, 2::4, 1]).max() <= 3.5
        spans = [float(np.ptp(cropped[..., channel].astype(float))) + 1 for channel in (0, 1)]
        areas.append(np.prod(spans) / (height * width))
    assert min(areas) > 0.47 and min(areas) < 0.65 and max(areas) > 0.85


def test_erased_area_and_ratio_stay_within_limits() -> None:
    """2 to 25 % and 0.3 to 3.3 are the ablation's: a larger hole hides the place itself. Depth is not erased."""
    image, depth = np.full((SIZE, SIZE, 3), 250, np.uint8), np.ones((16, 16), np.float32)
    rng = np.random.default_rng(0)
    areas, ratios = [], []
    for _ in range(200):
        erased, same_depth = augment(image, depth, Augmentation(**STILL, erasing=1.0), rng)
        hole = (erased == ERASED_RGB).all(-1)
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert hole.sum() == height * width and np.array_equal(same_depth, depth)
        areas.append(hole.mean())
        ratios.append(height / width)
    # Sides are whole pixels: of 5 or more, so half a pixel is up to a tenth.
    assert 0.018 < min(areas) < 0.05 and 0.22 < max(areas) < 0.26
    assert 0.27 < min(ratios) < 0.5 and 2.0 < max(ratios) < 3.7
    quarter = [augment(image, depth, Augmentation(**STILL, erasing=0.25), rng)[0] for _ in range(200)]
    assert 30 < sum((picture == ERASED_RGB).all(-1).any() for picture in quarter) < 70


def test_hue_turns_by_hand() -> None:
    """A third of a circle makes red green, and grey has no hue to turn."""
    image = np.array([[[255, 0, 0], [90, 90, 90], [0, 0, 0], [255, 255, 255]]], np.uint8)
    assert turn_hue(image, 1 / 3).tolist() == [[[0, 255, 0], [90, 90, 90], [0, 0, 0], [255, 255, 255]]]
    assert turn_hue(image, -1 / 3)[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("turns", [-0.5, -0.2, 0.0, 0.13, 0.5])
def test_hue_is_that_of_kornia(turns: float) -> None:
    """The field's colour jitter is torchvision's and kornia's: a hue in other units would be another augmentation."""
    kornia = pytest.importorskip("kornia", reason="kornia is not installed: nothing to compare hue with")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    floats = torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255
    expected = kornia.enhance.adjust_hue(floats, turns * 2 * np.pi)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(turn_hue(image, turns) - expected).max() <= 1.0


def test_hue_is_drawn_over_its_whole_range_and_per_seed() -> None:
    """0.5 is any hue; the same seed gives the same image again, or a run could not be resumed."""
    image, depth = np.full((8, 8, 3), (255, 0, 0), np.uint8), np.ones((2, 2), np.float32)
    settings = Augmentation(**STILL, hue=0.5, crop=0.5, flip=0.5, erasing=0.25)
    first, again = (
        [augment(image, depth, settings, rng)[0] for _ in range(60)]
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    strongest = [int(np.bincount(version.reshape(-1, 3).argmax(1)).argmax()) for version in first]
    assert set(strongest) == {0, 1, 2}


def test_blur_blurs() -> None:
    """The published ablation had a blur of one pixel, which does nothing: here a checkerboard must lose contrast."""
    image = (np.indices((SIZE, SIZE)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    depth = np.ones((16, 16), np.float32)
    rng = np.random.default_rng(0)
    blurred = [augment(image, depth, Augmentation(**{**STILL, "blur": 1.0}), rng)[0] for _ in range(20)]
    assert max(picture.std() for picture in blurred) < 0.8 * image.std()
    assert np.mean([picture.std() for picture in blurred]) < 0.3 * image.std()
