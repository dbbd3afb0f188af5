import math

import numpy as np
import pytest
import torch
from gcdflow.losses.distillation import self_distillation


def softmax(scores):
    shifted = np.exp(scores - scores.max())
    return shifted / shifted.sum()


def naive_self_distillation(x1, x2, prototypes, temperature, teacher_temperature):
    """The definition, one view at a time, in NumPy's float64."""
    views = [x.detach().numpy() for x in (x1, x2)]
    centres = prototypes.detach().numpy()
    losses = []
    for student, teacher in (views, reversed(views)):
        for seen, other in zip(student, teacher, strict=True):
            predicted = softmax(centres @ seen / temperature)
            soft_label = softmax(centres @ other / teacher_temperature)
            losses.append(-sum(q * math.log(p) for q, p in zip(soft_label, predicted, strict=True)))
    return sum(losses) / len(losses)


def rows(unit_rows, n=6, k=4):
    return unit_rows(n, 5, seed=1), unit_rows(n, 5, seed=2), unit_rows(k, 5, seed=3)


@pytest.mark.parametrize(("temperature", "teacher"), [(0.1, 0.04), (0.1, 0.07), (1.0, 0.5)])
@pytest.mark.parametrize(("n", "k"), [(1, 2), (6, 4), (3, 9)])
def test_equals_the_naive_loop(unit_rows, n, k, temperature, teacher):
    x1, x2, prototypes = rows(unit_rows, n, k)
    loss = self_distillation(
        x1, x2, prototypes, temperature=temperature, teacher_temperature=teacher
    )
    expected = naive_self_distillation(x1, x2, prototypes, temperature, teacher)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_soft_labels_are_constants(unit_rows):
    """The gradient is that of the naive loss with the soft labels held, by finite differences."""
    x1, x2, prototypes = rows(unit_rows)
    loss = self_distillation(x1, x2, prototypes, temperature=0.5, teacher_temperature=0.2)
    found = torch.autograd.grad(loss, (x1, x2, prototypes))
    held = [
        np.stack([softmax(prototypes.detach().numpy() @ row / 0.2) for row in x.detach().numpy()])
        for x in (x2, x1)
    ]

    def with_held_labels(one, other, centres):
        losses = []
        for view, labels in zip((one, other), held, strict=True):
            for row, label in zip(view, labels, strict=True):
                losses.append(-(label * np.log(softmax(centres @ row / 0.5))).sum())
        return sum(losses) / len(losses)

    values = [leaf.detach().numpy().copy() for leaf in (x1, x2, prototypes)]
    for number, (value, gradients) in enumerate(zip(values, found, strict=True)):
        numeric = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            moved = [v.copy() for v in values]
            moved[number][place] += 1e-6
            numeric[place] = with_held_labels(*moved)
            moved[number][place] -= 2e-6
            numeric[place] = (numeric[place] - with_held_labels(*moved)) / 2e-6
        np.testing.assert_allclose(gradients.numpy(), numeric, atol=1e-8)


def test_equal_views_that_are_sure_cost_nothing(unit_rows):
    centres = torch.eye(3, dtype=torch.float64)
    loss = self_distillation(centres, centres, centres, temperature=0.01, teacher_temperature=0.01)
    assert 0 <= loss.item() < 1e-12


def test_undecided_views_cost_the_entropy_of_all_categories():
    x = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    centres = torch.eye(3, dtype=torch.float64)[:2]
    assert self_distillation(x, x, centres).item() == pytest.approx(math.log(2))


def test_symmetric_in_the_views_and_in_the_order_of_images(unit_rows):
    x1, x2, prototypes = rows(unit_rows)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    loss = self_distillation(x1, x2, prototypes)
    torch.testing.assert_close(self_distillation(x2, x1, prototypes), loss)
    torch.testing.assert_close(self_distillation(x1[order], x2[order], prototypes), loss)


def test_without_images_the_loss_is_zero_and_keeps_the_graph(unit_rows, gradient):
    x1, x2, prototypes = rows(unit_rows, n=0)
    loss = self_distillation(x1, x2, prototypes)
    assert loss.item() == 0
    gradient(loss, x1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_only_in_the_features(unit_rows, gradient, dtype):
    x1, x2, prototypes = (x.detach().to(dtype) for x in rows(unit_rows))
    x1.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = self_distillation(x1, x2, prototypes, teacher_temperature=0.01)
    assert loss.dtype == torch.float32
    exact = self_distillation(
        x1.double(), x2.double(), prototypes.double(), teacher_temperature=0.01
    )
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    gradient(loss, x1)


def test_views_must_match(unit_rows):
    x1, x2, prototypes = rows(unit_rows)
    with pytest.raises(ValueError, match=r"x2 has shape \(1, 5\), expected \(6, 5\)"):
        self_distillation(x1, x2[:1], prototypes)
