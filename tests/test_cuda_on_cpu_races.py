"""Races that cuda_on_cpu reports are those of the definition: two accesses that no barrier puts in order."""

import functools
import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyvit.kernels.cuda_on_cpu import CudaError, Module, turns_in_order

# Runs a program: in each step every thread reads or writes a cell, or does nothing; then comes a synchronisation.
KERNEL = """
extern "C" __global__ void run(const int *program, const int *synchronisations, int steps, float *y, float *cells) {
    __shared__ float tile[4];
#ifdef SHARED
    cells = tile;
#endif
    if (threadIdx.x < 4) cells[threadIdx.x] = 0;
    __syncthreads();
    float sum = 0;
    for (int step = 0; step < steps; step++) {
        int operation = program[step * blockDim.x + threadIdx.x];
        if (operation >= 4) cells[operation - 4] = 1;
        else if (operation >= 0) sum += cells[operation];
        int synchronisation = synchronisations[step];
        if (synchronisation == 1) __syncwarp();
        if (synchronisation == 2) __syncthreads();
    }
    y[threadIdx.x] = sum;
}
"""
NOTHING, SYNCWARP, SYNCTHREADS = range(3)
THREADS = (0, 1, 31, 32, 33, 63)  # those that have something to do


@st.composite
def programs(draw):
    """(steps, 64) operations: -1 is nothing, 0 to 3 read that cell, 4 to 7 write it. And what comes after each step."""
    steps = draw(st.integers(1, 6))
    program = np.full((steps, 64), -1, np.int32)
    operation = st.sampled_from([-1, -1, -1, 0, 0, 1, 1, 4, 5])
    for step, thread in itertools.product(range(steps), THREADS):
        program[step, thread] = draw(operation)
    after = draw(st.lists(st.sampled_from([NOTHING, SYNCWARP, SYNCTHREADS]), min_size=steps, max_size=steps))
    return program, np.array(after, np.int32)


def has_race(program: np.ndarray, after: np.ndarray) -> bool:
    """Whether two threads, one of which writes, use a cell with no synchronisation of the two between."""
    accesses = [(step, thread, program[step, thread]) for step, thread in np.argwhere(program >= 0)]
    for (step, thread, operation), (other_step, other_thread, other) in itertools.combinations(accesses, 2):
        if thread != other_thread and operation % 4 == other % 4 and max(operation, other) >= 4:
            enough = SYNCWARP if thread // 32 == other_thread // 32 else SYNCTHREADS
            if not np.any(after[step:other_step] >= enough):
                return True
    return False


@functools.cache
def kernel(shared: bool):
    return Module.from_text(KERNEL, "run.cu", {"SHARED": 1} if shared else None).get_function("run")


@settings(max_examples=150)
@given(programs(), st.integers(0, 5), st.booleans())
def test_a_race_is_reported_where_there_is_one_and_nowhere_else(drawn, order, shared):
    program, after = drawn
    y, cells = np.zeros(64, np.float32), np.zeros(4, np.float32)
    found = False
    try:
        with turns_in_order(order):
            kernel(shared)((1,), (64,), (program, after, len(after), y, cells))
    except CudaError as error:
        found = True
        assert f"race in {'shared' if shared else 'global'} memory" in str(error)
    assert found == has_race(program, after)
