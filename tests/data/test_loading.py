"""Batches have the samples and random numbers of the plan, with any number of workers."""

import multiprocessing

import numpy as np
import pytest
import torch
from gcdflow.config.settings import AffineAugmentation
from gcdflow.data.augmentation import build_augmentation
from gcdflow.data.datasets.images import ArrayImages, FileImages
from gcdflow.data.loading import evaluation_batches, training_batches
from gcdflow.data.randomness import uniforms
from gcdflow.data.sampling import plan_epoch
from gcdflow.errors import InputError
from PIL import Image

N = 30
AUGMENTATION = build_augmentation(AffineAugmentation(elastic=0.05))


@pytest.fixture
def split(make_split):
    return make_split(N)


@pytest.fixture
def images() -> ArrayImages:
    return ArrayImages(np.random.default_rng(0).integers(0, 256, (N, 8, 8, 1), dtype=np.uint8))


def batches_of(split, images, epochs, num_workers=0, seed=0):
    loaded = training_batches(
        split,
        images,
        AUGMENTATION,
        epochs=epochs,
        batch_size=6,
        seed=seed,
        num_workers=num_workers,
    )
    return {epoch: list(batches) for epoch, batches in loaded}


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.positions, b.positions)
        assert torch.equal(a.views, b.views)


def test_batches_follow_the_plan(split, images):
    found = batches_of(split, images, range(3, 5))
    train = split.train_mask
    for epoch in (3, 4):
        plans = plan_epoch(
            split.indices[train & split.labelled_mask],
            split.indices[train & ~split.labelled_mask],
            batch_size=6,
            seed=0,
            epoch=epoch,
        )
        assert len(found[epoch]) == len(plans) == 4
        for batch, plan in zip(found[epoch], plans, strict=True):
            np.testing.assert_array_equal(split.indices[batch.positions], plan.ids)
            assert train[batch.positions].all()
            assert batch.views.shape == (12, 1, 8, 8)
            for view in range(2):
                u = np.stack(
                    [
                        uniforms(AUGMENTATION.n_draws, 0, epoch, sample, 2 * occurrence + view, 2)
                        for sample, occurrence in zip(plan.ids, plan.occurrences, strict=True)
                    ]
                )
                prepared = AUGMENTATION.prepare(images.read(batch.positions))
                expected = AUGMENTATION.view(prepared, u)
                torch.testing.assert_close(batch.views[6 * view : 6 * view + 6], expected)


def test_all_views_of_a_sample_differ(make_split, images):
    """Also those of the only labelled sample, which is in each batch."""
    split = make_split(N, labelled_mask=np.arange(N) < 1)
    epochs = batches_of(split, images, range(1, 3))
    views = [
        view
        for batches in epochs.values()
        for batch in batches
        for position, view in zip(batch.positions.repeat(2), batch.views, strict=True)
        if position == 0
    ]
    assert len(views) == 2 * 2 * 4  # views, epochs, batches
    distinct = {view.numpy().tobytes() for view in views}
    assert len(distinct) == len(views)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(split, images, num_workers):
    alone = batches_of(split, images, range(1, 3))
    together = batches_of(split, images, range(1, 3), num_workers=num_workers)
    for epoch in (1, 2):
        assert_same(alone[epoch], together[epoch])


def test_workers_finish_after_a_sigterm_to_all_processes(split, images):
    """A cluster sends it at the walltime, and only the training process reacts to it."""
    alone = batches_of(split, images, range(1, 3))
    loaded = training_batches(
        split, images, AUGMENTATION, epochs=range(1, 3), batch_size=6, seed=0, num_workers=2
    )
    together = {}
    for epoch, batches in loaded:
        together[epoch] = [next(batches), next(batches)]  # one of each worker, so both are running
        for worker in multiprocessing.active_children() if epoch == 1 else []:
            worker.terminate()
        together[epoch] += batches
    for epoch in (1, 2):
        assert_same(alone[epoch], together[epoch])


def test_segments_change_nothing(split, images):
    whole = batches_of(split, images, range(1, 4))
    assert_same(whole[1], batches_of(split, images, range(1, 2))[1])
    assert_same(whole[3], batches_of(split, images, range(3, 4))[3])


def test_seeds_differ(split, images):
    one, other = (
        batches_of(split, images, range(1, 2)),
        batches_of(split, images, range(1, 2), seed=1),
    )
    assert not torch.equal(one[1][0].views, other[1][0].views)


def test_order_of_the_split_does_not_matter(split, images):
    """The same samples in another order give the same batches."""
    order = np.random.default_rng(5).permutation(N)
    arrays = {
        name: getattr(split, name)[order]
        for name in ("indices", "train_mask", "labelled_mask", "labels")
    }
    shuffled = type(split)(**(vars(split) | arrays))
    moved = ArrayImages(images.read(order))
    for a, b in zip(
        batches_of(split, images, range(1, 2))[1],
        batches_of(shuffled, moved, range(1, 2))[1],
        strict=True,
    ):
        np.testing.assert_array_equal(split.indices[a.positions], shuffled.indices[b.positions])
        assert torch.equal(a.views, b.views)


def test_global_generator_is_not_changed(split, images):
    state = torch.get_rng_state()
    batches_of(split, images, range(1, 2))
    list(evaluation_batches(images, AUGMENTATION, np.arange(3), batch_size=2, num_workers=0))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_batches_are_in_order(images, num_workers):
    positions = np.array([7, 3, 29, 0, 3])
    batches = list(
        evaluation_batches(images, AUGMENTATION, positions, batch_size=2, num_workers=num_workers)
    )
    assert [len(batch) for batch in batches] == [2, 2, 1]
    expected = torch.from_numpy(images.read(positions)).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(torch.cat(batches), expected)


def test_nothing_to_evaluate(images):
    empty = np.empty(0, dtype=np.int64)
    options = {"batch_size": 2, "num_workers": 0}
    assert list(evaluation_batches(images, AUGMENTATION, empty, **options)) == []


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_image_is_one_sentence_from_any_process(tmp_path, split, num_workers):
    for i in range(N):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    train = np.flatnonzero(split.train_mask)
    for i in train:
        (tmp_path / f"{i}.png").write_bytes(b"")
    images = FileImages(tmp_path, [f"{i}.png" for i in range(N)])
    with pytest.raises(InputError, match=r"\d+\.png: not a readable image") as info:
        batches_of(split, images, range(1, 2), num_workers=num_workers)
    assert "\n" not in str(info.value)
    options = {"batch_size": 2, "num_workers": num_workers}
    with pytest.raises(InputError, match=r"\d+\.png: not a readable image") as info:
        list(evaluation_batches(images, AUGMENTATION, train, **options))
    assert "\n" not in str(info.value)
