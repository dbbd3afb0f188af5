import math

import numpy as np
import pytest
import torch
from gcdflow.losses.mean_entropy import mean_entropy_gap


def naive_mean_entropy_gap(x, prototypes, temperature):
    """The definition in NumPy's float64."""
    scores = np.exp(x.detach().numpy() @ prototypes.detach().numpy().T / temperature)
    mean = (scores / scores.sum(axis=1, keepdims=True)).mean(axis=0)
    return math.log(len(mean)) + sum(p * math.log(p) for p in mean)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("n", "k"), [(1, 2), (12, 4), (5, 9)])
def test_equals_the_naive_formula(unit_rows, n, k, temperature):
    x, prototypes = unit_rows(n, 5, seed=1), unit_rows(k, 5, seed=2)
    loss = mean_entropy_gap(x, prototypes, temperature=temperature)
    expected = naive_mean_entropy_gap(x, prototypes, temperature)
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_gradient(unit_rows):
    leaves = unit_rows(6, 4, seed=1), unit_rows(3, 4, seed=2)
    assert torch.autograd.gradcheck(lambda x, c: mean_entropy_gap(x, c, temperature=0.3), leaves)


def test_even_predictions_lack_nothing_and_a_single_category_lacks_all():
    centres = torch.eye(3, dtype=torch.float64)
    assert abs(mean_entropy_gap(centres, centres).item()) < 1e-12
    one = mean_entropy_gap(centres[[0, 0, 0]], centres, temperature=0.01)
    assert one.item() == pytest.approx(math.log(3))


def test_it_is_of_the_mean_and_not_of_each_view():
    """Views that are sure of different categories are even together."""
    centres = torch.eye(4, dtype=torch.float64)
    both = mean_entropy_gap(centres[:2], centres, temperature=0.01).item()
    alone = [mean_entropy_gap(centres[[i]], centres, temperature=0.01).item() for i in (0, 1)]
    assert both == pytest.approx(math.log(2))
    assert alone == pytest.approx([math.log(4)] * 2)


def test_categories_whose_share_rounds_to_zero_keep_a_finite_gradient(gradient):
    centres = torch.eye(3).requires_grad_()
    x = torch.eye(3)[[0, 0]]
    loss = mean_entropy_gap(x, centres, temperature=0.001)
    assert loss.item() == pytest.approx(math.log(3))
    gradient(loss, centres)


def test_without_views_the_loss_is_zero_and_keeps_the_graph(unit_rows, gradient):
    x = unit_rows(0, 4)
    loss = mean_entropy_gap(x, unit_rows(3, 4))
    assert loss.item() == 0
    gradient(loss, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_only_in_the_features(unit_rows, gradient, dtype):
    x, prototypes = (unit_rows(n, 16, seed=n).detach().to(dtype) for n in (8, 5))
    x.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = mean_entropy_gap(x, prototypes)
    assert loss.dtype == torch.float32
    exact = mean_entropy_gap(x.double(), prototypes.double())
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    gradient(loss, x)
