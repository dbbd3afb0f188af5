import copy

import pytest
import torch
from gcdflow.config.settings import PseudoSettings
from gcdflow.losses.infonce import info_nce
from gcdflow.losses.supcon import sup_con
from gcdflow.models.head import DINOHead, random_prototypes
from gcdflow.models.model import Model
from torch import nn
from torch.nn import functional as F

SMALL = {"in_dim": 12, "out_dim": 20, "hidden_dim": 16, "bottleneck_dim": 6}


def seeded_head(seed=0, **changes):
    torch.manual_seed(seed)
    return DINOHead(**{**SMALL, **changes})


def test_equals_the_formula_written_out():
    head, x = seeded_head(), torch.randn(5, 12)
    first, _, second, _, third = head.mlp
    hidden = F.gelu(F.linear(F.gelu(F.linear(x, first.weight, first.bias)), second.weight))
    bottleneck = F.linear(hidden, third.weight)
    bottleneck = bottleneck / bottleneck.norm(dim=1, keepdim=True)
    directions = head.last_layer.parametrizations.weight.original1
    output = bottleneck @ (directions / directions.norm(dim=1, keepdim=True)).T
    torch.testing.assert_close(head(x), output / output.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
def test_shape_and_norm(n_layers):
    head = seeded_head(n_layers=n_layers)
    output = head(torch.randn(7, 12))
    assert output.shape == (7, 20)
    torch.testing.assert_close(output.norm(dim=1), torch.ones(7))
    widths = [m.out_features for m in head.mlp if isinstance(m, nn.Linear)]
    assert widths == [16] * (n_layers - 1) + [6]
    assert not isinstance(head.mlp[-1], nn.GELU)


def test_default_sizes_are_those_of_dino():
    with torch.device("meta"):
        head = DINOHead(384)
    shapes = [tuple(m.weight.shape) for m in head.mlp if isinstance(m, nn.Linear)]
    assert shapes == [(2048, 384), (2048, 2048), (256, 2048)]
    assert tuple(head.last_layer.weight.shape) == (65536, 256)
    assert head.last_layer.bias is None


def test_initialisation():
    head = seeded_head(in_dim=300, hidden_dim=200)
    for layer in (head.mlp[0], head.mlp[2]):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert (layer.bias == 0).all()
    torch.testing.assert_close(head.last_layer.weight.norm(dim=1), torch.ones(20))


def test_initialisation_depends_on_the_global_generator_alone():
    one, same, other = seeded_head(3).state_dict(), seeded_head(3).state_dict(), seeded_head(4)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["mlp.0.weight"], other.state_dict()["mlp.0.weight"])


def test_magnitude_of_the_last_layer_is_frozen():
    head = seeded_head()
    optimiser = torch.optim.SGD(head.parameters(), lr=0.5, momentum=0.9, weight_decay=1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        (head(torch.randn(5, 12)) * torch.randn(5, 20)).sum().backward()
        optimiser.step()
    magnitude = head.last_layer.parametrizations.weight.original0
    assert (magnitude == 1).all()
    assert all(torch.isfinite(p).all() for p in head.parameters())


def test_state_round_trips(tmp_path):
    head, other = seeded_head(1), seeded_head(2)
    torch.save(head.state_dict(), tmp_path / "head.pt")
    other.load_state_dict(torch.load(tmp_path / "head.pt", weights_only=True), strict=True)
    x = torch.randn(3, 12)
    assert torch.equal(head(x), other(x))
    assert torch.equal(head(x), copy.deepcopy(head)(x))


@pytest.mark.parametrize("x", [torch.zeros(2, 12), torch.ones(3, 12), torch.zeros(0, 12)])
def test_degenerate_features_stay_finite(x):
    head = seeded_head()
    output = head(x)
    assert torch.isfinite(output).all()
    output.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.requires_grad)


def test_output_is_unit_in_float32_under_autocast():
    head = seeded_head()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(torch.randn(4, 12))
    assert output.dtype == torch.float32
    torch.testing.assert_close(output.norm(dim=1), torch.ones(4))


def test_gradient():
    head = seeded_head().double()
    x = torch.randn(2, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(head, (x,))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_compact_rows_have_the_dot_products_and_gradients_of_wide_ones(dtype, tolerance):
    head = seeded_head(out_dim=500).to(dtype)
    x = torch.randn(9, 12, dtype=dtype)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0, 1])
    found = []
    for embed in (head.forward, head.compact):
        features = x.clone().requires_grad_()
        head.zero_grad()
        z = embed(features)
        loss = sup_con(z, labels, temperature=0.2) + info_nce(z[:4], z[4:8], temperature=0.5)
        loss.backward()
        parameters = [p.grad.clone() for p in head.parameters() if p.requires_grad]
        found.append((z @ z.T, loss.detach(), features.grad, *parameters))
    for wide, compact in zip(*found, strict=True):
        largest = wide.abs().max().item()
        torch.testing.assert_close(compact, wide, rtol=0, atol=tolerance * largest)


def test_compact_rows_of_a_last_layer_of_low_rank():
    head = seeded_head(out_dim=200)
    with torch.no_grad():
        directions = head.last_layer.parametrizations.weight.original1
        directions.copy_(torch.randn(200, 2) @ torch.randn(2, 6))
    x = torch.randn(5, 12)
    wide, compact = head(x), head.compact(x)
    torch.testing.assert_close(compact @ compact.T, wide @ wide.T, rtol=1e-3, atol=1e-3)


def test_compact_pays_for_wide_heads_only():
    with torch.device("meta"):
        assert DINOHead(384).compact_pays
    assert not seeded_head().compact_pays


@pytest.mark.parametrize(
    ("out_dim", "loss", "width"), [(96, "supcon", 4), (96, "prototypical", 96), (8, "supcon", 8)]
)
def test_model_embeds_compactly_where_dot_products_are_enough(tiny_settings, out_dim, loss, width):
    head = tiny_settings.head.model_copy(update={"out_dim": out_dim})
    settings = tiny_settings.model_copy(update={"head": head, "pseudo": PseudoSettings(loss=loss)})
    assert Model(settings)(torch.zeros(2, 1, 8, 8)).shape == (2, width)


def test_without_a_last_layer_the_bottleneck_is_the_output():
    head, whole, x = seeded_head(out_dim=None), seeded_head(), torch.randn(5, 12)
    whole.mlp.load_state_dict(head.mlp.state_dict())
    output = head(x)
    torch.testing.assert_close(output, F.normalize(whole.mlp(x)))
    assert not head.compact_pays
    assert head.state_dict().keys() == {f"mlp.{name}" for name in head.mlp.state_dict()}


def test_random_prototypes_depend_on_the_global_generator_alone():
    torch.manual_seed(1)
    one, other = random_prototypes(400, 30, torch.float32), random_prototypes(4, 3, torch.float64)
    assert one.std().item() == pytest.approx(0.02, rel=0.05)
    assert other.dtype == torch.float64
    torch.manual_seed(1)
    assert torch.equal(random_prototypes(400, 30, torch.float32), one)
