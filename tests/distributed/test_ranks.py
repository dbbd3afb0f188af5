"""What ranks gather, sum and share, and the device of each."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from all_losses import settings
from forked_ranks import run_as_ranks
from gcdflow.distributed import ranks as ranks_module
from gcdflow.distributed.batch_norm import synchronise_batch_norm
from gcdflow.distributed.device import resolve_device
from gcdflow.distributed.ranks import Ranks, joined
from gcdflow.errors import InputError
from gcdflow.files.formats import Split
from gcdflow.losses.infonce import info_nce
from gcdflow.losses.supcon import sup_con
from timm.layers import BatchNormAct2d
from torch import nn

ALONE = Ranks(torch.device("cpu"))


def network() -> nn.Module:
    """A network with two kinds of batch norms, one with its activation, in double precision."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 5, 3), BatchNormAct2d(5, act_layer=nn.SiLU), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(5 * 4 * 4, 6), nn.BatchNorm1d(6)).double()


def step_of(ranks: Ranks, path: Path) -> None:
    """Two training steps of a network on a fixed batch of 12 images with two views each."""
    generator = torch.Generator().manual_seed(1)
    images = 3 + torch.randn(2, 12, 2, 6, 6, generator=generator, dtype=torch.float64)
    labels = torch.arange(12) % 3
    model = synchronise_batch_norm(network(), ranks)
    for _ in range(2):
        model.zero_grad()
        own = images[:, ranks.part].flatten(0, 1)
        z = ranks.gather(nn.functional.normalize(model(own)), 2)
        z1, z2 = z.chunk(2)
        loss = info_nce(z1, z2) + sup_con(z, labels.repeat(2))
        loss.backward()
        ranks.sum_gradients(model.parameters())
    gradients = {name: p.grad for name, p in model.named_parameters()}
    model.eval()
    result = {"loss": loss.detach(), "embeddings": model(images.flatten(0, 1)).detach()}
    torch.save({**result, **model.state_dict(), "gradients": gradients}, path)


@pytest.mark.parametrize("size", [2, 3])
def test_gradients_and_running_statistics_are_those_of_the_whole_batch(tmp_path: Path, size: int):
    def rank() -> None:
        with joined("cpu") as ranks:
            step_of(ranks, tmp_path / f"{ranks.rank}.pt")

    assert run_as_ranks(size, rank) == [0] * size
    step_of(ALONE, tmp_path / "one.pt")
    one = torch.load(tmp_path / "one.pt")
    for number in range(size):
        found = torch.load(tmp_path / f"{number}.pt")
        assert found.keys() == one.keys()
        assert one.keys() >= network().state_dict().keys()
        torch.testing.assert_close(found, one, rtol=1e-10, atol=1e-12)
    for name, gradient in one["gradients"].items():
        # Biases before a batch norm have only rounding errors as gradients.
        assert gradient.abs().max() > 1e-6 or name in ("0.bias", "3.bias"), name


def test_gathered_rows_are_in_the_order_of_the_batch(tmp_path: Path):
    rows = torch.arange(24.0).reshape(12, 2)

    def rank() -> None:
        with joined("cpu") as ranks:
            own = rows[ranks.part].requires_grad_()
            assert torch.equal(ranks.gather(own), rows)
            both = torch.cat([own, -own])
            assert torch.equal(ranks.gather(both, 2), torch.cat([rows, -rows]))
            (ranks.gather(own) * rows).sum().backward()
            assert torch.equal(own.grad, rows[ranks.part])
            assert torch.equal(ranks.sum(own), rows.reshape(-1, ranks.size, 2).sum(1))
            assert ranks.largest(10 * ranks.rank) == 20
            assert torch.equal(
                ranks.from_first(torch.full((3,), ranks.rank)), torch.zeros(3).long()
            )

    assert run_as_ranks(3, rank) == [0, 0, 0]


def test_batch_norm_in_bfloat16_keeps_the_type(tmp_path: Path):
    def rank() -> None:
        with joined("cpu") as ranks:
            model = synchronise_batch_norm(nn.Sequential(nn.BatchNorm2d(2)), ranks)
            found = model(torch.ones(4, 2, 3, 3, dtype=torch.bfloat16))
            assert found.dtype == torch.bfloat16
            assert model[0].running_mean.dtype == torch.float32

    assert run_as_ranks(2, rank) == [0, 0]


def test_a_single_process_changes_nothing():
    model, z = network(), torch.randn(4, 3)
    assert synchronise_batch_norm(model, ALONE) is model
    assert type(model[1]) is BatchNormAct2d
    assert ALONE.gather(z, 2) is ALONE.sum(z) is ALONE.from_first(z) is z
    assert (ALONE.largest(7), ALONE.part, ALONE.is_first) == (7, slice(0, None, 1), True)


@pytest.mark.parametrize(
    ("number", "size", "expected"), [(8, 2, 4), (3, 2, 1), (1, 2, 1), (0, 2, 0), (7, 1, 7)]
)
def test_shares_of_threads_and_workers(number: int, size: int, expected: int):
    assert replace(ALONE, size=size).share(number) == expected


def test_parts_make_up_the_batch_and_are_balanced(split_path: Path):
    from gcdflow.data.augmentation import build_augmentation
    from gcdflow.data.datasets import open_images
    from gcdflow.data.loading import training_batches

    split, chosen = Split.load(split_path), settings()
    images, augmentation = (
        open_images(split.source, split.paths),
        build_augmentation(chosen.augmentation),
    )

    def first_batch(part: slice):
        options = {"epochs": range(1, 2), "batch_size": 64, "seed": 0, "num_workers": 0}
        epochs = training_batches(split, images, augmentation, part=part, **options)
        return next(batch for _, batches in epochs for batch in batches)

    whole, parts = first_batch(slice(None)), [first_batch(slice(r, None, 4)) for r in range(4)]
    for rank, part in enumerate(parts):
        assert torch.equal(part.positions, whole.positions)
        expected = whole.views.unflatten(0, (2, 64))[:, rank::4].flatten(0, 1)
        assert torch.equal(part.views, expected)
        own = part.positions[rank::4].numpy()
        assert np.count_nonzero(split.labelled_mask[own]) == len(own) // 2


def test_each_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("auto", "cuda"):
        assert resolve_device(name, 2, 1) == torch.device("cuda:1")
    assert resolve_device("cpu", 4, 3) == torch.device("cpu")
    with pytest.raises(InputError, match="4 GPUs are requested, but PyTorch finds 2; set gpus"):
        resolve_device("auto", 4, 0)
    with pytest.raises(InputError, match="--device cuda:1: names one GPU, but 2 are requested"):
        resolve_device("cuda:1", 2, 0)


def test_a_missing_launcher_is_one_sentence(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2, "MASTER_PORT": port}
    for name, value in {**variables, "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(ranks_module, "_TIME_TO_MEET", timedelta(seconds=1))
    expected = r"one of 2 processes of a launcher, but .*; if you use no launcher, unset LOCAL_"
    with pytest.raises(InputError, match=expected), joined("cpu"):
        raise AssertionError("no one is there")
