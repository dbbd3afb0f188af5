import math

import pytest
import torch
from gcdflow.losses.infonce import info_nce
from gcdflow.losses.supcon import sup_con, sup_con_pairs
from hypothesis import given, settings
from hypothesis import strategies as st


def naive_sup_con(z, labels, temperature, weights=None):
    """Equation 2 of Khosla et al., one anchor and one positive at a time, in Python floats."""
    rows, labels = z.tolist(), labels.tolist()
    weights = [1.0] * len(rows) if weights is None else weights.tolist()
    total, total_weight = 0.0, 0.0
    for i, anchor in enumerate(rows):
        logits = [
            sum(a * b for a, b in zip(anchor, row, strict=True)) / temperature for row in rows
        ]
        others = [k for k in range(len(rows)) if k != i]
        positives = [k for k in others if labels[k] == labels[i]]
        if not positives:
            continue
        largest = max(logits[k] for k in others)
        denominator = sum(math.exp(logits[k] - largest) for k in others)
        of_anchor = [-(logits[p] - largest - math.log(denominator)) for p in positives]
        total += weights[i] * sum(of_anchor) / len(positives)
        total_weight += weights[i]
    return total / total_weight if total_weight else 0.0


@st.composite
def batches(draw):
    """Labels with any mix of singles and groups, and weights that include zeros."""
    labels = draw(st.lists(st.integers(-1, 4), min_size=0, max_size=10))
    weight = st.just(0.0) | st.floats(0.01, 10)
    n = len(labels)
    weights = draw(st.none() | st.lists(weight, min_size=n, max_size=n))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    z = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator).double(), dim=1)
    return (
        z.requires_grad_(),
        torch.tensor(labels, dtype=torch.int64),
        None if weights is None else torch.tensor(weights, dtype=torch.float64),
    )


@settings(max_examples=60, deadline=None)
@given(batch=batches(), temperature=st.sampled_from([0.01, 0.07, 1.0]))
def test_equals_the_naive_loop(batch, temperature):
    z, labels, weights = batch
    loss = sup_con(z, labels, temperature=temperature, weights=weights)
    expected = naive_sup_con(z, labels, temperature, weights)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    (grad,) = torch.autograd.grad(loss, z)
    assert torch.isfinite(grad).all()


def test_pairs_equal_a_naive_loop(unit_rows):
    """Any pairs count, also one-way ones, but not the diagonal; one row has no positive."""
    z = unit_rows(6, 3, seed=3)
    positive = torch.rand(6, 6, generator=torch.Generator().manual_seed(4)) < 0.4
    positive[2] = False
    positive[2, 2] = True
    weights = torch.tensor([1.0, 0.5, 9.0, 2.0, 0.0, 1.0], dtype=z.dtype)
    total = 0.0
    for i in range(6):
        others = [k for k in range(6) if k != i]
        pulled = [k for k in others if positive[i, k]]
        assert bool(pulled) == (i != 2)
        shares = (z[i] @ z[others].T / 0.2).log_softmax(0)
        of_pulled = [shares[others.index(k)].item() for k in pulled]
        total -= weights[i].item() * sum(of_pulled) / max(len(pulled), 1)
    loss = sup_con_pairs(z, positive, temperature=0.2, weights=weights)
    assert loss.item() == pytest.approx(total / (weights.sum().item() - 9.0))


def test_pairs_of_other_embeddings_are_refused(unit_rows):
    with pytest.raises(ValueError, match=r"positive has shape \(5, 5\), expected \(6, 6\)"):
        sup_con_pairs(unit_rows(6, 3, seed=3), torch.ones(5, 5, dtype=torch.bool))


def test_equals_info_nce_if_every_image_is_its_own_class(unit_rows):
    z1, z2 = unit_rows(5, 4, seed=1), unit_rows(5, 4, seed=2)
    loss = sup_con(torch.cat([z1, z2]), torch.arange(5).repeat(2), temperature=0.3)
    torch.testing.assert_close(loss, info_nce(z1, z2, temperature=0.3))


def test_identical_embeddings_share_evenly(unit_rows, gradient):
    z = unit_rows(1, 3).detach().repeat(6, 1).requires_grad_()
    for labels in ([0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 2, 2]):
        loss = sup_con(z, torch.tensor(labels))
        assert loss.item() == pytest.approx(math.log(5))
        gradient(loss, z)


def test_anchors_without_positives_repel_but_are_not_averaged(unit_rows):
    # A lone third sample is a negative of the pair, orthogonal to it here.
    z = torch.eye(2, dtype=torch.float64)[[0, 0, 1]]
    loss = sup_con(z, torch.tensor([7, 7, 3]), temperature=1.0)
    assert loss.item() == pytest.approx(-math.log(math.e / (math.e + 1)))


def test_weight_zero_drops_an_anchor_and_scale_does_not_matter(unit_rows):
    z, labels = unit_rows(6, 4), torch.tensor([0, 0, 0, 1, 1, 1])
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0, 1.0], dtype=torch.float64)
    loss = sup_con(z, labels, weights=weights)
    assert loss.item() == pytest.approx(naive_sup_con(z, labels, 0.07, weights))
    torch.testing.assert_close(sup_con(z, labels, weights=1000 * weights), loss)
    torch.testing.assert_close(
        sup_con(z, labels, weights=torch.ones(6)), sup_con(z, labels, weights=None)
    )


@pytest.mark.parametrize(
    ("labels", "weights"),
    [
        ([], None),
        ([3], None),
        ([0, 1, 2, 3], None),
        ([0, 0, 1, 1], [0.0, 0.0, 0.0, 0.0]),
        ([0, 0, 1, 2], [0.0, 0.0, 1.0, 1.0]),
    ],
    ids=["empty", "one sample", "all different", "no weight", "weight only without positives"],
)
def test_without_positives_the_loss_is_zero_and_keeps_the_graph(
    unit_rows, gradient, labels, weights
):
    z = unit_rows(len(labels), 4)
    weights = None if weights is None else torch.tensor(weights)
    loss = sup_con(z, torch.tensor(labels, dtype=torch.int64), weights=weights)
    assert loss.item() == 0
    assert (gradient(loss, z) == 0).all()


def test_gradient(unit_rows):
    labels, weights = torch.tensor([0, 0, 1, 1, 1, 2]), torch.arange(6, dtype=torch.float64)
    z = unit_rows(6, 4)
    assert torch.autograd.gradcheck(lambda z: sup_con(z, labels, weights=weights), (z,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_only_in_the_embeddings(unit_rows, gradient, dtype):
    z = unit_rows(12, 16).detach().to(dtype).requires_grad_()
    labels = torch.arange(12) % 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = sup_con(z, labels, temperature=0.01)
    assert loss.dtype == torch.float32
    exact = sup_con(z.double(), labels, temperature=0.01)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    gradient(loss, z)


def test_labels_and_weights_must_be_one_per_row(unit_rows):
    z, labels = unit_rows(3, 4), torch.zeros(3, dtype=torch.int64)
    for wrong in (labels[:2], labels[:, None]):
        with pytest.raises(ValueError, match=r"labels has shape .*, expected \(3,\)"):
            sup_con(z, wrong)
    with pytest.raises(ValueError, match=r"weights has shape \(3, 1\), expected \(3,\)"):
        sup_con(z, labels, weights=torch.ones(3, 1))
    with pytest.raises(ValueError, match="not enough values"):
        sup_con(torch.ones(3), labels)
