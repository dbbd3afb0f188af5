import math

import pytest
import torch
from gcdflow.losses.infonce import info_nce


def naive_info_nce(z1, z2, temperature):
    """SimCLR's equation 1, one pair at a time, in Python floats."""
    views = [*z1.tolist(), *z2.tolist()]
    n = len(z1)
    total = 0.0
    for i, anchor in enumerate(views):
        exponentials = {
            k: math.exp(sum(a * b for a, b in zip(anchor, view, strict=True)) / temperature)
            for k, view in enumerate(views)
            if k != i
        }
        positive = i + n if i < n else i - n
        total -= math.log(exponentials[positive] / sum(exponentials.values()))
    return total / len(views)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("n_images", [1, 2, 7])
def test_equals_the_naive_loop(unit_rows, n_images, temperature):
    z1, z2 = unit_rows(n_images, 5, seed=1), unit_rows(n_images, 5, seed=2)
    expected = naive_info_nce(z1, z2, temperature)
    assert info_nce(z1, z2, temperature=temperature).item() == pytest.approx(expected, abs=1e-12)


def test_identical_embeddings_share_evenly(unit_rows, gradient):
    z = unit_rows(1, 3).detach().repeat(4, 1).requires_grad_()
    loss = info_nce(z, z)
    assert loss.item() == pytest.approx(math.log(2 * 4 - 1))
    gradient(loss, z)


def test_orthogonal_images_with_equal_views():
    # Similarity 1 to the other view, 0 to the 2B - 2 views of other images.
    z = torch.eye(3, dtype=torch.float64)
    expected = -math.log(math.exp(2) / (math.exp(2) + 4))
    assert info_nce(z, z, temperature=0.5).item() == pytest.approx(expected)


def test_symmetric_in_the_views_and_in_the_order_of_images(unit_rows):
    z1, z2 = unit_rows(6, 4, seed=1), unit_rows(6, 4, seed=2)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(info_nce(z1, z2), info_nce(z2, z1))
    torch.testing.assert_close(info_nce(z1, z2), info_nce(z1[order], z2[order]))


@pytest.mark.parametrize("n_images", [0, 1])
def test_without_negatives_the_loss_is_zero_and_keeps_the_graph(unit_rows, gradient, n_images):
    z1, z2 = unit_rows(n_images, 4, seed=1), unit_rows(n_images, 4, seed=2)
    loss = info_nce(z1, z2)
    assert loss.item() == 0
    assert (gradient(loss, z1) == 0).all()


def test_gradient(unit_rows):
    views = unit_rows(3, 4, seed=1), unit_rows(3, 4, seed=2)
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, temperature=0.3), views)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_only_in_the_embeddings(unit_rows, gradient, dtype):
    z1 = unit_rows(8, 16, seed=1).detach().to(dtype).requires_grad_()
    z2 = unit_rows(8, 16, seed=2).detach().to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(z1, z2, temperature=0.01)
    assert loss.dtype == torch.float32
    exact = info_nce(z1.double(), z2.double(), temperature=0.01)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    gradient(loss, z1)


def test_views_must_match(unit_rows):
    with pytest.raises(ValueError, match=r"z2 has shape \(2, 4\), expected \(3, 4\)"):
        info_nce(unit_rows(3, 4), unit_rows(2, 4))
    with pytest.raises(ValueError, match="not enough values"):
        info_nce(unit_rows(2, 4)[0], unit_rows(2, 4)[0])
