"""PyTorch's kernels, one by one, at the sizes and under the names of ``our_kernels.py``: for a process of its own."""

import torch
import torch.nn.functional as F

from tinyvit.benchmark.on_gpu import timing, torch_device
from tinyvit.benchmark.on_gpu.clocks import Clock, seconds_a_call, seconds_a_launch
from tinyvit.benchmark.on_gpu.timing import Sizes, Timing, Timings


def time_torch_kernels(sizes: list[Sizes], number: int, precision: str) -> Timings:
    """PyTorch's own way to the same results, eager."""
    device = torch_device.use(number, precision)
    like = {"device": device, "dtype": torch_device.storage(precision)}
    clock = torch_device.TorchClock()
    torch.manual_seed(0)
    x, y = torch.ones((), device=device), torch.ones((), device=device)
    launches = {"an operation of the library (x + y)": Timing(seconds_a_launch(lambda: x + y, clock))}
    found: Timings = {"launches": launches, "products": {}, "attention": {}, "layer norm": {}}
    side = timing.SIDE
    found["ceilings"] = _orientations(like, clock, f"{side} x {side} x {side}", side, side, side)
    found["ceilings"]["copy"] = _copy(like, clock)
    for one in sizes:
        for name, inputs, outputs in one.products():
            found["products"] |= _orientations(like, clock, name, one.rows, inputs, outputs)
        found["attention"] |= _attention(like, clock, one)
        found["layer norm"] |= _layer_norm(like, clock, one)
    return found


def _copy(like: dict, clock: Clock) -> Timing:
    source, target = (torch.ones(timing.NUMBERS, **like) for _ in range(2))
    return Timing(seconds_a_call(lambda: target.copy_(source), clock), bytes=2 * source.nbytes)


def _orientations(like: dict, clock: Clock, name: str, rows: int, inputs: int, outputs: int) -> dict[str, Timing]:
    """The three products of a linear layer. PyTorch keeps weights as (out, in)."""
    x, dout, weight = (torch.randn(shape, **like) for shape in ((rows, inputs), (rows, outputs), (outputs, inputs)))
    flop = 2 * rows * inputs * outputs
    calls = {
        "x W": lambda: x @ weight.T,
        "dy W^T": lambda: dout @ weight,
        "x^T dy": lambda: dout.T @ x,
    }
    return {f"{name}, {which}": Timing(seconds_a_call(call, clock), flop) for which, call in calls.items()}


def _attention(like: dict, clock: Clock, sizes: Sizes) -> dict[str, Timing]:
    """As in the model, from the array of all queries, keys and values to the heads' outputs side by side; and
    scaled_dot_product_attention alone, on arrays of its own layout, which does less."""
    batch, tokens, width, heads = sizes.batch, sizes.tokens, sizes.width, sizes.heads
    qkv = torch.randn(batch, tokens, 3 * width, requires_grad=True, **like)
    dout = torch.randn(batch, tokens, width, **like)
    shape = (batch, heads, tokens, width // heads)
    alone = [torch.randn(shape, requires_grad=True, **like) for _ in range(3)]
    dout_alone = torch.randn(shape, **like)

    def forward() -> torch.Tensor:
        query, key, value = qkv.reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, tokens, width)

    def without_gradient(call):
        with torch.no_grad():
            return call()

    def forward_alone() -> torch.Tensor:
        return F.scaled_dot_product_attention(*alone)

    calls = {
        "forward": (lambda: without_gradient(forward), 2),
        "forward and backward": (lambda: torch.autograd.grad(forward(), qkv, dout), 6),
        "forward, without the layout": (lambda: without_gradient(forward_alone), 2),
        "forward and backward, without the layout": (
            lambda: torch.autograd.grad(forward_alone(), alone, dout_alone),
            6,
        ),
    }
    return {
        f"{sizes.name}: {name}": Timing(seconds_a_call(call, clock), products * sizes.attention_flop)
        for name, (call, products) in calls.items()
    }


def _layer_norm(like: dict, clock: Clock, sizes: Sizes) -> dict[str, Timing]:
    x, branch = (torch.randn(sizes.rows, sizes.width, requires_grad=True, **like) for _ in range(2))
    gamma, beta = (torch.randn(sizes.width, requires_grad=True, **like) for _ in range(2))
    dz, dy = (torch.randn(sizes.rows, sizes.width, **like) for _ in range(2))

    def norm(x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (sizes.width,), gamma, beta, 1e-6)

    def add_and_norm() -> tuple[torch.Tensor, torch.Tensor]:
        z = x + branch
        return z, norm(z)

    y, (z, y_of_z) = norm(x), add_and_norm()
    wanted = (x, branch, gamma, beta)
    with torch.no_grad():
        calls = {
            "a copy of x": (lambda: dz.copy_(dy), 2),
            "forward": (lambda: norm(x), 2),
            "backward": (lambda: torch.autograd.grad(y, (x, gamma, beta), dy, retain_graph=True), 3),
            "x + branch and its norm": (add_and_norm, 4),
            "x + branch and its norm, backward": (
                lambda: torch.autograd.grad((z, y_of_z), wanted, (dz, dy), retain_graph=True),
                4,
            ),
        }
        return {
            f"{sizes.name}: {name}": Timing(seconds_a_call(call, clock), bytes=arrays * x.nbytes)
            for name, (call, arrays) in calls.items()
        }
