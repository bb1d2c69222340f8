"""Launches an optimiser's kernel over flat arrays: see optimizer.cuh."""

from tinyvit.device import is_array
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.shapes import expect_shape
from tinyvit.kernels.gpu.vectors import vector_length, vectors

THREADS = 256


def launch_step(
    name: str, parameter, gradient, state: dict, working, gradient_scale, numbers: tuple[float, ...]
) -> None:
    """Run the kernel ``<name>_step`` of ``<name>.cu`` with the parameters (parameter, gradient, *state, working,
    gradient_scale, scale, *numbers, count).

    Args:
        parameter: (size,), float32.
        gradient: the same, or bfloat16.
        state: what the optimiser remembers, by name, each like parameter.
        working: None, or bfloat16 (size,), which receives the new parameters.
        gradient_scale: a number, or a float32 array of no axes.

    Raises:
        TypeError: an array of another type, or not contiguous.
        ValueError: an array of another size.
    """
    expect_shape(parameter.shape, gradient=gradient, working=working, **state)
    if not parameter.size:
        return
    in_memory = is_array(gradient_scale)
    scale = (gradient_scale, 1.0) if in_memory else (None, gradient_scale)
    arrays = (parameter, gradient, *state.values())
    together = arrays if working is None else (*arrays, working)
    blocks = -(-parameter.size // (THREADS * vector_length(*together)))
    arguments = (*arrays, working, *scale, *numbers, parameter.size)
    launch(name, f"{name}_step", (blocks,), (THREADS,), arguments, **storage(gradient), **vectors(*together))
