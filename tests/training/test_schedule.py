import math
from itertools import pairwise

import pytest
import torch
from gcdflow.training.schedule import cosine_lr, gamma, teacher_temperature
from hypothesis import given
from hypothesis import strategies as st

PUBLISHED = {"begin": 0, "first": 0.07, "last": 0.04, "ramp_epochs": 30}


class TestGamma:
    def test_ramps_over_the_whole_run(self):
        run = {"warmup_epochs": 50, "total_epochs": 200, "gamma_ramp_epochs": None}
        curve = [gamma(e, **run) for e in range(1, 201)]
        assert curve[:50] == [0.0] * 50
        assert curve[50] == pytest.approx(1 / 150)
        assert curve[124] == pytest.approx(0.5)
        assert curve[-1] == 1.0

    def test_has_equal_steps_wherever_the_run_is_cut(self):
        run = {"warmup_epochs": 3, "total_epochs": 10, "gamma_ramp_epochs": None}
        curve = [gamma(e, **run) for e in range(3, 11)]
        steps = [b - a for a, b in pairwise(curve)]
        assert steps == pytest.approx([1 / 7] * 7)

    def test_ramp_of_its_own_length(self):
        curve = [
            gamma(e, warmup_epochs=2, total_epochs=9, gamma_ramp_epochs=4) for e in range(1, 10)
        ]
        assert curve == [0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1]

    def test_ramp_longer_than_the_run_is_left_unfinished(self):
        assert gamma(10, warmup_epochs=5, total_epochs=10, gamma_ramp_epochs=20) == 0.25

    def test_ramp_of_0_epochs_is_a_step(self):
        step = {"warmup_epochs": 5, "total_epochs": 10, "gamma_ramp_epochs": 0}
        assert [gamma(e, **step) for e in (5, 6, 10)] == [0, 1, 1]

    @pytest.mark.parametrize("ramp", [None, 0, 3])
    def test_all_warm_up_never_starts(self, ramp):
        for epoch in (1, 10):
            value = gamma(epoch, warmup_epochs=10, total_epochs=10, gamma_ramp_epochs=ramp)
            assert value == 0

    def test_no_warm_up(self):
        assert gamma(1, warmup_epochs=0, total_epochs=4, gamma_ramp_epochs=None) == 0.25

    @given(
        epoch=st.integers(1, 300),
        warmup=st.integers(0, 100),
        rest=st.integers(0, 100),
        ramp=st.none() | st.integers(0, 150),
    )
    def test_is_a_monotonic_share(self, epoch, warmup, rest, ramp):
        run = {
            "warmup_epochs": warmup,
            "total_epochs": warmup + rest,
            "gamma_ramp_epochs": ramp,
        }
        assert 0 <= gamma(epoch, **run) <= gamma(epoch + 1, **run) <= 1


class TestCosineLR:
    @pytest.mark.parametrize(("total", "final_factor"), [(1, 1e-3), (7, 1e-3), (20, 0.1)])
    def test_equals_torch(self, total, final_factor):
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimiser, T_max=total, eta_min=0.1 * final_factor
        )
        for epoch in range(1, total + 1):
            lr = cosine_lr(epoch, total_epochs=total, lr=0.1, final_factor=final_factor)
            assert lr == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
            optimiser.step()
            scheduler.step()

    @pytest.mark.parametrize(
        ("lr", "final_factor", "total"), [(0.1, 1e-3, 200), (0.003, 1e-3, 125), (0.05, 0.1, 7)]
    )
    def test_is_rounded_as_in_earlier_versions(self, lr, final_factor, total):
        """They had a scheduler of PyTorch, which multiplies."""
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
        low, span = lr * final_factor, lr - lr * final_factor
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda done: (low + span * (1 + math.cos(math.pi * done / total)) / 2) / lr
        )
        for epoch in range(1, total + 1):
            rate = cosine_lr(epoch, total_epochs=total, lr=lr, final_factor=final_factor)
            assert rate == optimiser.param_groups[0]["lr"]
            optimiser.step()
            scheduler.step()

    def test_known_values(self):
        run = {"total_epochs": 200, "lr": 0.1, "final_factor": 1e-3}
        assert cosine_lr(1, **run) == pytest.approx(0.1, rel=1e-15)
        assert cosine_lr(101, **run) == pytest.approx((0.1 + 1e-4) / 2)
        assert 1e-4 < cosine_lr(200, **run) < 1.1e-4


class TestTeacherTemperature:
    def test_falls_by_half_a_cosine_and_stays(self):
        curve = [teacher_temperature(e, **PUBLISHED) for e in range(1, 201)]
        assert curve[0] == pytest.approx(0.07)
        assert curve[15] == pytest.approx(0.055)
        assert curve[30:] == pytest.approx([0.04] * 170)
        assert all(later < earlier for earlier, later in pairwise(curve[:31]))
        assert curve[5] == pytest.approx(0.04 + 0.03 * math.cos(math.pi * 5 / 60) ** 2)

    def test_begins_with_the_classifier(self):
        late = [teacher_temperature(e, **PUBLISHED | {"begin": 50}) for e in range(51, 90)]
        assert late == [teacher_temperature(e, **PUBLISHED) for e in range(1, 40)]

    def test_a_ramp_of_0_epochs_is_a_constant(self):
        at_once = PUBLISHED | {"ramp_epochs": 0}
        assert teacher_temperature(1, **at_once) == pytest.approx(0.04)
