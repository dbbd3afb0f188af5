"""Augmentations are functions of images and numbers: closed cases, SciPy, torchvision's own."""

import math

import numpy as np
import pytest
import torch
from gcdflow.config.settings import AffineAugmentation, CropAugmentation
from gcdflow.data.augmentation import AUGMENTATIONS, build_augmentation
from gcdflow.data.randomness import uniforms
from gcdflow.errors import InputError
from torchvision.transforms import InterpolationMode, v2

STRENGTHS = {
    name: 0.0
    for name, field in AffineAugmentation.model_fields.items()
    if field.annotation is float
}


def affine(**strengths):
    """Only the given strengths; all others 0."""
    return build_augmentation(AffineAugmentation(**(STRENGTHS | strengths)))


def images(n=4, size=8, channels=1, seed=0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, size, size), generator=generator, dtype=torch.uint8)


def arrays(batch) -> list[np.ndarray]:
    """Images (C, H, W) as an image source gives them."""
    return [image.permute(1, 2, 0).numpy() for image in batch]


def view_of(augmentation, batch, u: np.ndarray) -> torch.Tensor:
    return augmentation.view(augmentation.prepare(arrays(batch)), u)


def evaluated(augmentation, batch) -> torch.Tensor:
    return augmentation.evaluation_view(augmentation.prepare(arrays(batch)))


def draws(augmentation, n=4, key=0) -> np.ndarray:
    return uniforms(augmentation.n_draws, key, np.arange(n))


def test_every_augmentation_can_be_built():
    assert AUGMENTATIONS.keys() == {"affine", "crop"}
    assert build_augmentation(AffineAugmentation()).image_size is None
    assert build_augmentation(CropAugmentation(resize=80, image_size=64)).image_size == 64


# -- affine ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 11])
def test_without_strength_a_view_is_the_evaluation_view(size):
    batch = images(size=size)
    view = view_of(affine(), batch, draws(affine()))
    expected = evaluated(affine(), batch)
    torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(expected, batch.float() / 255)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_every_strength_changes_the_view(strength):
    augmentation = affine(**{strength: 20.0 if strength == "degrees" else 0.3})
    view = view_of(augmentation, images(), draws(augmentation))
    assert view.shape == (4, 1, 8, 8)
    assert view.dtype == torch.float32
    assert torch.isfinite(view).all()
    difference = (view - evaluated(augmentation, images())).abs().amax(dim=(1, 2, 3))
    assert (difference > 1e-3).all()


def column_of(strength: str, n_draws: int) -> int:
    """Which of the numbers drives a strength that has one, found by trying each."""
    augmentation = affine(**{strength: 0.5 if strength != "degrees" else 90.0})
    middle = np.full((1, n_draws), 0.5)
    still = view_of(augmentation, images(1), middle)
    found = []
    for column in range(n_draws):
        u = middle.copy()
        u[0, column] = 0.9
        if not torch.equal(view_of(augmentation, images(1), u), still):
            found.append(column)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("turns", [-1, 1])
def test_rotation_by_a_right_angle_is_exact(turns):
    augmentation = affine(degrees=90.0)
    u = np.full((4, augmentation.n_draws), 0.5)
    u[:, column_of("degrees", augmentation.n_draws)] = 0.5 + 0.5 * turns
    view = view_of(augmentation, images(), u)
    rotated = [torch.rot90(images().float() / 255, k, dims=(2, 3)) for k in (1, -1)]
    agree = [torch.allclose(view, expected, atol=1e-5) for expected in rotated]
    assert sum(agree) == 1


def cubic(x: float) -> float:
    """Keys' cubic convolution kernel with a = -0.75, as image libraries use it."""
    x, a = abs(x), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def rotated_naively(pixels: np.ndarray, angle: float) -> np.ndarray:
    """Bicubic rotation about the centre, pixel by pixel; zeros outside, values cut to 0…1."""
    n, result = len(pixels), np.zeros(pixels.shape)
    middle = (n - 1) / 2
    for y, x in np.ndindex(n, n):
        dy, dx = y - middle, x - middle
        source_y = middle + math.sin(angle) * dx + math.cos(angle) * dy
        source_x = middle + math.cos(angle) * dx - math.sin(angle) * dy
        result[y, x] = sum(
            pixels[i, j] * cubic(source_y - i) * cubic(source_x - j) for i, j in np.ndindex(n, n)
        )
    return result.clip(0, 1)


@pytest.mark.parametrize("degrees", [10.0, -33.0, 45.0])
def test_rotation_against_a_naive_one(degrees):
    augmentation = affine(degrees=abs(degrees))
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12)).astype(np.uint8)
    u = np.full((1, augmentation.n_draws), 0.5)
    u[0, column_of("degrees", augmentation.n_draws)] = 1.0 if degrees > 0 else 0.0
    view = view_of(augmentation, torch.from_numpy(pixels)[None, None], u)[0, 0].numpy()
    errors = [
        np.abs(view - rotated_naively(pixels / 255.0, sign * math.radians(degrees))).max()
        for sign in (1, -1)
    ]
    assert min(errors) < 1e-4  # which sign turns which way is a convention
    assert max(errors) > 0.05


def test_opposite_numbers_undo_a_rotation():
    """The middle number is no change, and 0 and 1 are the same angle in two directions."""
    augmentation = affine(degrees=90.0)
    u = np.full((4, augmentation.n_draws), 0.5)
    column = column_of("degrees", augmentation.n_draws)
    there, back = u.copy(), u.copy()
    there[:, column], back[:, column] = 1.0, 0.0
    once = view_of(augmentation, images(), there)
    twice = view_of(augmentation, (once * 255).round().to(torch.uint8), back)
    torch.testing.assert_close(twice, images().float() / 255, atol=1e-2, rtol=0)


def test_translation_by_whole_pixels():
    augmentation = affine(translate=0.25)  # two of eight pixels
    u = np.full((1, augmentation.n_draws), 0.5)
    moved = []
    for column in range(augmentation.n_draws):
        v = u.copy()
        v[0, column] = 1.0
        view = view_of(augmentation, images(1), v)
        if not torch.allclose(view, images(1).float() / 255, atol=1e-5):
            moved.append(view[0, 0])
    original = images(1)[0, 0].float() / 255
    assert len(moved) == 2
    kept = [(slice(None), slice(0, 6)), (slice(0, 6), slice(None))]
    source = [(slice(None), slice(2, 8)), (slice(2, 8), slice(None))]
    for view, to, of in zip(moved, kept, source, strict=True):
        torch.testing.assert_close(view[to], original[of], atol=1e-5, rtol=0)
        assert (view > 1e-5).sum() <= 48


def test_views_do_not_depend_on_the_rest_of_the_batch():
    augmentation = build_augmentation(AffineAugmentation(elastic=0.05, stroke=0.5))
    u = draws(augmentation, 4)
    whole = view_of(augmentation, images(), u)
    for i in range(4):
        alone = view_of(augmentation, [images()[i]], u[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], atol=1e-6, rtol=0)


def test_affine_maps_need_images_of_one_size():
    expected = (
        r"'affine' needs images of one size, found \(8, 8, 1\) and \(9, 9, 1\); choose .*crop"
    )
    with pytest.raises(InputError, match=expected):
        evaluated(affine(), [*images(1), *images(1, size=9)])


def test_elastic_displacements_are_smooth_and_bounded():
    """A ramp shows where each pixel came from: nowhere farther than the strength, and smoothly."""
    augmentation = affine(elastic=0.05)
    ramp = torch.arange(0, 256, 8, dtype=torch.uint8).repeat(32, 1)[None, None]
    u = draws(augmentation, 1)
    shift = view_of(augmentation, ramp, u)[0, 0] * 255 / 8 - torch.arange(32)
    inner = shift[4:-4, 4:-4]
    assert 0.2 < inner.abs().max() < 1.5 * 0.05 * 32
    assert inner.diff(dim=0).abs().max() < 0.5
    assert inner.diff(dim=1).abs().max() < 0.5


def test_stroke_is_a_power_of_the_pixels():
    augmentation = affine(stroke=0.7)
    u = np.full((2, augmentation.n_draws), 0.5)
    u[:, column_of("stroke", augmentation.n_draws)] = [0.0, 1.0]
    thin_and_bold = view_of(augmentation, images(1).repeat(2, 1, 1, 1), u)
    plain = images(1)[0].float() / 255
    for view, exponent in zip(thin_and_bold, (1 / 1.7, 1.7), strict=True):
        torch.testing.assert_close(view, plain**exponent, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "settings", [AffineAugmentation(elastic=0.1), CropAugmentation(resize=20, image_size=16)]
)
def test_views_leave_global_generators_and_images_alone(settings):
    augmentation = build_augmentation(settings)
    batch = images(2, size=9, channels=3)
    before, state = batch.clone(), torch.get_rng_state()
    view_of(augmentation, batch, draws(augmentation, 2))
    evaluated(augmentation, batch)
    assert torch.equal(batch, before)
    assert torch.equal(torch.get_rng_state(), state)


# -- crop ------------------------------------------------------------------------------------------


def rgb(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand((3, height // 4, width // 4), generator=generator)
    smooth = v2.functional.resize(small, [height, width], antialias=True)
    return (255 * smooth).round().to(torch.uint8)


SIZES = [(60, 41), (41, 60), (50, 50), (33, 97), (97, 33), (40, 53), (32, 32), (20, 90), (64, 45)]


@pytest.mark.parametrize("size", SIZES)
def test_evaluation_is_torchvisions(size):
    augmentation = build_augmentation(CropAugmentation(resize=40, image_size=32))
    reference = v2.Compose(
        [
            v2.Resize(40, interpolation=InterpolationMode.BICUBIC, antialias=True),
            v2.CenterCrop(32),
        ]
    )
    batch = [rgb(*size, seed=i) for i in range(2)]
    view = evaluated(augmentation, batch)
    assert view.shape == (2, 3, 32, 32)
    assert view.dtype == torch.uint8
    assert torch.equal(view, torch.stack([reference(image) for image in batch]))


def test_evaluation_is_close_to_that_on_pil_images():
    """The field resizes PIL images; nothing but rounding of grey levels may differ."""
    augmentation = build_augmentation(CropAugmentation(resize=40, image_size=32))
    reference = v2.Compose(
        [
            v2.ToPILImage(),
            v2.Resize(40, interpolation=InterpolationMode.BICUBIC),
            v2.CenterCrop(32),
            v2.ToImage(),
        ]
    )
    difference = evaluated(augmentation, [rgb(90, 61)])[0].int() - reference(rgb(90, 61)).int()
    assert difference.abs().max() <= 2


def crop_offsets(size: tuple[int, int], u: tuple[float, float, float]) -> tuple[int, int]:
    """Where in the resized image a crop comes from, found by comparing with all crops."""
    augmentation = build_augmentation(CropAugmentation(resize=12, image_size=10, flip=False))
    image = rgb(*size)
    view = view_of(augmentation, [image], np.array([u]))[0]
    resized = v2.functional.resize(image, [12], InterpolationMode.BICUBIC, antialias=True)
    height, width = resized.shape[-2:]
    found = [
        (y, x)
        for y in range(height - 9)
        for x in range(width - 9)
        if torch.equal(resized[:, y : y + 10, x : x + 10], view)
    ]
    assert len(found) == 1
    return found[0]


LAST = 1 - 2.0**-53  # the largest number that uniforms() gives


@pytest.mark.parametrize(
    ("size", "u", "offsets"),
    [
        ((24, 24), (0.0, 0.0, 0.0), (0, 0)),
        ((24, 24), (LAST, LAST, 0.0), (2, 2)),
        ((24, 24), (0.34, 0.7, 0.0), (1, 2)),
        ((24, 40), (LAST, LAST, 0.0), (2, 10)),
        ((40, 24), (LAST, 0.0, 0.0), (10, 0)),
        ((24, 40), (0.0, 0.5, 0.0), (0, 5)),
    ],
)
def test_crops_reach_every_corner(size, u, offsets):
    assert crop_offsets(size, u) == offsets


def test_every_other_image_is_mirrored():
    augmentation = build_augmentation(CropAugmentation(resize=16, image_size=16))
    batch = [rgb(16, 16)] * 2
    plain, mirrored = view_of(augmentation, batch, np.array([[0, 0, 0.5], [0, 0, 0.499]]))
    torch.testing.assert_close(mirrored, plain.flip(-1))
    torch.testing.assert_close(plain, evaluated(augmentation, batch)[0])
    unmirrored = build_augmentation(CropAugmentation(resize=16, image_size=16, flip=False))
    for view in view_of(unmirrored, batch, np.array([[0, 0, 0.9], [0, 0, 0.1]])):
        torch.testing.assert_close(view, plain)


def test_small_images_are_enlarged():
    augmentation = build_augmentation(CropAugmentation(resize=32, image_size=32))
    assert evaluated(augmentation, [rgb(9, 21)]).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("lying", [False, True])
def test_of_a_strip_only_the_middle_is_resized(lying):
    augmentation = build_augmentation(CropAugmentation(resize=16, image_size=16))
    strip = np.zeros((3, 4001, 3), np.uint8)
    strip[:, 1970:2031] = 255
    image = strip if lying else strip.transpose(1, 0, 2)
    (prepared,) = augmentation.prepare([image])
    assert sorted(prepared.shape) == [3, 16, 320]
    assert prepared.min() == 255
    short = strip[:, :60]
    (prepared,) = augmentation.prepare([short if lying else short.transpose(1, 0, 2)])
    assert sorted(prepared.shape) == [3, 16, 320]
    assert prepared.max() == 0


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"image_size \(32\) is larger than resize \(8\)"):
        CropAugmentation(resize=8, image_size=32)
