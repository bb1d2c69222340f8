"""The learning rate as a function of the step."""

import pytest

from tinyvit.training import learning_rate_at

STEPS = 40


def rates(schedule: str, warmup: int, steps: int = STEPS, peak: float = 0.3) -> list[float]:
    return [
        learning_rate_at(step, peak=peak, steps=steps, warmup_steps=warmup, schedule=schedule) for step in range(steps)
    ]


@pytest.mark.parity
@pytest.mark.parametrize("warmup", [0, 2, 10])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_a_whole_run_agrees_with_torch(schedule, warmup):
    torch = pytest.importorskip("torch", reason="needs PyTorch (extra `parity`)")
    from torch.optim import lr_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    after = {
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS - warmup),
        "linear": lambda: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=STEPS - warmup),
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, factor=1.0),
    }[schedule]
    if warmup:
        rising = lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, total_iters=warmup - 1)
        scheduler = lr_scheduler.SequentialLR(optimizer, [rising, after()], milestones=[warmup])
    else:
        scheduler = after()
    expected = []
    for _ in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates(schedule, warmup) == pytest.approx(expected, rel=1e-12)


def test_warm_up_starts_above_zero_and_ends_at_the_peak():
    assert rates("cosine", 4)[:5] == pytest.approx([0.075, 0.15, 0.225, 0.3, 0.3])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_last_step_still_learns(schedule):
    last = rates(schedule, 4)[-1]
    assert 0 < last < 0.01


def test_a_run_that_is_all_warm_up():
    assert rates("cosine", 8, steps=4) == pytest.approx([0.3 * k / 8 for k in (1, 2, 3, 4)])


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match=r"'cosin'.*cosine, linear, constant"):
        rates("cosin", 0)
