import math

import pytest
import torch
from gcdflow.losses.prototypical import cluster_prototypes, prototypical, update_prototypes
from hypothesis import given, settings
from hypothesis import strategies as st


def naive_prototypical(z, labels, prototypes, temperature, weights=None):
    """Equation 2 of Snell et al. with cosine similarity, one sample at a time."""
    rows, centres = z.tolist(), prototypes.tolist()
    weights = [1.0] * len(rows) if weights is None else weights.tolist()
    total, total_weight = 0.0, 0.0
    for row, label, weight in zip(rows, labels.tolist(), weights, strict=True):
        if not any(centres[label]):
            continue
        exponentials = {
            k: math.exp(sum(a * b for a, b in zip(row, centre, strict=True)) / temperature)
            for k, centre in enumerate(centres)
            if any(centre)
        }
        total -= weight * math.log(exponentials[label] / sum(exponentials.values()))
        total_weight += weight
    return total / total_weight if total_weight else 0.0


def naive_prototypes(z, labels, n_clusters):
    centres = []
    for k in range(n_clusters):
        members = [
            row for row, label in zip(z.tolist(), labels.tolist(), strict=True) if label == k
        ]
        mean = [sum(column) / len(members) for column in zip(*members, strict=True)]
        norm = math.sqrt(sum(value * value for value in mean))
        centres.append([value / norm for value in mean] if members else [0.0] * z.shape[1])
    return torch.tensor(centres, dtype=z.dtype)


class TestPrototypical:
    @settings(max_examples=60, deadline=None)
    @given(
        labels=st.lists(st.integers(0, 3), min_size=0, max_size=8),
        empty=st.sets(st.integers(0, 3)),
        weigh=st.booleans(),
        temperature=st.sampled_from([0.02, 0.1, 1.0]),
        seed=st.integers(0, 1000),
    )
    def test_equals_the_naive_loop(self, labels, empty, weigh, temperature, seed):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(len(labels) + 4, 3, generator=generator, dtype=torch.float64)
        rows = torch.nn.functional.normalize(rows, dim=1)
        z, prototypes = rows[4:].clone().requires_grad_(), rows[:4].clone()
        prototypes[sorted(empty)] = 0
        labels = torch.tensor(labels, dtype=torch.int64)
        weights = torch.rand(len(labels), generator=generator) if weigh else None
        loss = prototypical(z, labels, prototypes, temperature=temperature, weights=weights)
        expected = naive_prototypical(z, labels, prototypes, temperature, weights)
        assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        (grad,) = torch.autograd.grad(loss, z)
        assert torch.isfinite(grad).all()

    def test_samples_on_orthogonal_prototypes(self):
        z = torch.eye(4, dtype=torch.float64)
        loss = prototypical(z, torch.arange(4), z, temperature=0.5)
        assert loss.item() == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 3)))

    def test_identical_embeddings_and_prototypes_share_evenly(self, unit_rows, gradient):
        z = unit_rows(1, 3).detach().repeat(5, 1).requires_grad_()
        loss = prototypical(z, torch.arange(5), z.detach())
        assert loss.item() == pytest.approx(math.log(5))
        gradient(loss, z)

    def test_empty_clusters_take_no_part(self, unit_rows):
        z, labels, prototypes = unit_rows(4, 3), torch.tensor([0, 1, 1, 0]), unit_rows(2, 3, seed=1)
        with_empty = torch.cat([prototypes, torch.zeros(3, 3, dtype=torch.float64)])
        torch.testing.assert_close(
            prototypical(z, labels, with_empty), prototypical(z, labels, prototypes)
        )

    @pytest.mark.parametrize(
        ("labels", "empty", "weights"),
        [
            ([], [], None),
            ([2, 2], [2], None),
            ([0, 1, 2], [0, 1, 2], None),
            ([0, 1], [], [0.0, 0.0]),
            ([0, 2], [2], [0.0, 1.0]),
        ],
        ids=["no sample", "own is empty", "all empty", "no weight", "weight only on the empty"],
    )
    def test_without_samples_the_loss_is_zero_and_keeps_the_graph(
        self, unit_rows, gradient, labels, empty, weights
    ):
        z, prototypes = unit_rows(len(labels), 3), unit_rows(3, 3, seed=1).detach().clone()
        prototypes[empty] = 0
        loss = prototypical(
            z,
            torch.tensor(labels, dtype=torch.int64),
            prototypes,
            weights=None if weights is None else torch.tensor(weights),
        )
        assert loss.item() == 0
        assert (gradient(loss, z) == 0).all()

    def test_gradient(self, unit_rows):
        labels = torch.tensor([0, 2, 2, 1])
        weights = torch.arange(4, dtype=torch.float64)
        inputs = unit_rows(4, 3), unit_rows(3, 3, seed=1)
        assert torch.autograd.gradcheck(
            lambda z, prototypes: prototypical(z, labels, prototypes, weights=weights), inputs
        )

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_only_in_the_embeddings(self, unit_rows, gradient, dtype):
        z = unit_rows(8, 16).detach().to(dtype).requires_grad_()
        prototypes, labels = unit_rows(3, 16, dtype=torch.float32).detach(), torch.arange(8) % 3
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = prototypical(z, labels, prototypes, temperature=0.01)
        assert loss.dtype == torch.float32
        exact = prototypical(z.double(), labels, prototypes.double(), temperature=0.01)
        assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
        gradient(loss, z)

    def test_shapes_must_match(self, unit_rows):
        z, labels, prototypes = unit_rows(2, 4), torch.tensor([0, 1]), unit_rows(3, 4)
        with pytest.raises(ValueError, match=r"labels has shape \(1,\), expected \(2,\)"):
            prototypical(z, labels[:1], prototypes)
        with pytest.raises(ValueError, match=r"z has shape \(2, 4\), expected \(2, 3\)"):
            prototypical(z, labels, prototypes[:, :3])
        with pytest.raises(ValueError, match=r"weights has shape \(2, 1\), expected \(2,\)"):
            prototypical(z, labels, prototypes, weights=torch.ones(2, 1))


class TestClusterPrototypes:
    def test_equals_the_naive_loop(self, unit_rows):
        z, labels = unit_rows(12, 4), torch.tensor([0, 4, 1, 1, 0, 0, 4, 4, 1, 0, 2, 0])
        torch.testing.assert_close(
            cluster_prototypes(z, labels, 5).detach(), naive_prototypes(z.detach(), labels, 5)
        )

    def test_rows_are_unit_or_zero(self, unit_rows):
        norms = cluster_prototypes(unit_rows(5, 4), torch.tensor([0, 0, 3, 3, 3]), 5).norm(dim=1)
        torch.testing.assert_close(norms, torch.tensor([1, 0, 0, 1, 0], dtype=torch.float64))

    def test_no_samples_give_zero_rows(self):
        none = torch.zeros(0, dtype=torch.int64)
        assert torch.equal(cluster_prototypes(torch.zeros(0, 3), none, 2), torch.zeros(2, 3))

    def test_gradients_flow_through_prototypes(self, unit_rows, gradient):
        z, labels = unit_rows(5, 4), torch.tensor([0, 0, 3, 3, 3])
        grad = gradient(prototypical(z, labels, cluster_prototypes(z, labels, 5)), z)
        assert (grad != 0).any()


class TestUpdatePrototypes:
    def test_only_prototypes_in_the_batch_move(self, unit_rows):
        prototypes = unit_rows(4, 3, dtype=torch.float32)
        before = prototypes.detach().clone()
        z, labels = unit_rows(5, 3, seed=1, dtype=torch.float32), torch.tensor([0, 2, 2, 0, 2])
        after = update_prototypes(prototypes, z, labels, momentum=0.9)
        for k in (0, 2):
            moved = 0.9 * before[k] + 0.1 * z[labels == k].mean(dim=0)
            torch.testing.assert_close(after[k], (moved / moved.norm()).detach())
        assert torch.equal(after[[1, 3]], before[[1, 3]])
        assert torch.equal(prototypes, before)
        assert after.data_ptr() != prototypes.data_ptr()
        assert not after.requires_grad

    def test_momentum_0_gives_the_prototypes_of_the_batch(self, unit_rows):
        z, labels = unit_rows(6, 3), torch.arange(6) % 3
        after = update_prototypes(unit_rows(3, 3, seed=1), z, labels, momentum=0)
        torch.testing.assert_close(after, cluster_prototypes(z, labels, 3).detach())

    def test_momentum_1_keeps_the_prototypes(self, unit_rows):
        prototypes = unit_rows(3, 3, seed=1)
        after = update_prototypes(prototypes, unit_rows(6, 3), torch.arange(6) % 3, momentum=1)
        torch.testing.assert_close(after, prototypes.detach())

    def test_zero_row_takes_the_direction_of_its_first_members(self, unit_rows):
        z = unit_rows(1, 3)
        after = update_prototypes(z.new_zeros(2, 3), z, torch.tensor([1]), momentum=0.9)
        torch.testing.assert_close(after, torch.cat([torch.zeros_like(z), z]).detach())

    def test_a_prototype_is_not_cancelled(self):
        prototypes = torch.tensor([[1.0, 0.0]])
        after = update_prototypes(prototypes, -prototypes, torch.tensor([0]), momentum=0.5)
        assert torch.equal(after, prototypes)

    def test_empty_batch_changes_nothing(self, unit_rows):
        prototypes, none = unit_rows(3, 4), torch.zeros(0, dtype=torch.int64)
        after = update_prototypes(prototypes, unit_rows(0, 4), none, momentum=0.9)
        assert torch.equal(after, prototypes)

    def test_embeddings_must_be_as_wide_as_prototypes(self, unit_rows):
        with pytest.raises(ValueError, match=r"z has shape \(2, 1\), expected \(2, 3\)"):
            update_prototypes(unit_rows(2, 3), unit_rows(2, 1), torch.tensor([0, 1]), momentum=0.9)
