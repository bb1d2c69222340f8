"""cuda_on_cpu: what can be given, what comes of errors, the cache of libraries, and the trace."""

import doctest
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from planted_bugs import MEMORY, RACES

from tinyvit.files import cache_folder
from tinyvit.kernels.cuda_on_cpu import CudaError, Module, NoCompiler, module, trace, tracing, turns_in_order

ADD = """extern "C" __global__ void add(const float *x, float *y, int count, float amount) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) y[i] = x[i] + amount;
}
"""


def floats(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)


@pytest.fixture(scope="module")
def add():
    return Module.from_text(ADD, "add.cu").get_function("add")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A cache folder with nothing but the runtime in it."""
    folder = tmp_path / "cache" / "cuda_on_cpu"
    folder.mkdir(parents=True)
    Module.from_text(ADD, "add.cu")
    for path in (cache_folder() / "cuda_on_cpu").glob("runtime-*.o"):
        shutil.copy(path, folder)
    monkeypatch.setenv("TINYVIT_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("count", [1, 5, 1024, 1025])
def test_a_launch_writes_into_the_arrays(add, order, count):
    x, y = floats(count), np.full(count + 2, -1, np.float32)[1:-1]  # y is a part of a larger array
    with turns_in_order(order):
        add((-(-count // 64),), (64,), (x, y, count, 0.5))
    np.testing.assert_array_equal(y, x + np.float32(0.5))
    assert y.base[0] == y.base[-1] == -1


@pytest.mark.parametrize("order", range(3))
def test_in_place_and_overlapping_arguments(add, order):
    """An array given twice may be written, and parts of one array are still parts of one."""
    x = floats(96)
    with turns_in_order(order):
        add((1,), (64,), (x[:64], x[:64], 64, 1))
        np.testing.assert_array_equal(x[:64], floats(64) + 1)
        add((1,), (32,), (x[:64], x[32:], 32, 1))
    np.testing.assert_array_equal(x[32:64], floats(32) + 2)
    np.testing.assert_array_equal(x[64:], floats(96)[64:])


def test_no_array_is_a_null_pointer():
    text = 'extern "C" __global__ void kernel(const float *x, int *y) { y[0] = x == 0; }'
    function, y = Module.from_text(text).get_function("kernel"), np.zeros(1, np.int32)
    for nothing in (None, np.empty(0, np.float32)):
        function((1,), (1,), (nothing, y))
        assert y[0] == 1


@pytest.mark.parametrize(
    "args, message",
    [
        ((floats(8), floats(8), 8), "add has 4 parameters, given were 3 arguments"),
        ((floats(8), np.zeros(8), 8, 1), "y is a float64 array .* expected a C-contiguous NumPy array of float32"),
        ((floats(8)[::2], floats(4), 4, 1), r"x is a float32 array with strides \(8,\), expected a C-contiguous"),
        (([1.0], floats(8), 8, 1), "x is a list, expected a C-contiguous NumPy array of float32"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(add, args, message):
    with pytest.raises(TypeError, match=message):
        add((1,), (8,), args)


@pytest.mark.parametrize(
    "grid, block, shared_mem, message",
    [
        ((0,), (1,), 0, "each axis needs at least 1"),
        ((1,), (32, 0), 0, "each axis needs at least 1"),
        ((1,), (1025,), 0, "at most 1024 threads"),
        ((1,), (1, 1, 65), 0, "64 along its third axis"),
        ((1, 65536), (1,), 0, "a grid has at most"),
        ((1,), (1,), 232449, "232449 bytes of dynamic shared memory of 232448 that there are"),
    ],
)
def test_launches_that_no_gpu_makes_are_refused(add, grid, block, shared_mem, message):
    with pytest.raises(CudaError, match=f"add: .*{message}"):
        add(grid, block, (floats(8), floats(8), 8, 1), shared_mem=shared_mem)


def test_more_static_shared_memory_than_there_is_is_refused():
    text = """extern "C" __global__ void kernel(float *y, int i) {
    __shared__ float tile[%d];
    tile[i] = 1;
    __syncthreads();
    y[0] = tile[i];
}"""
    Module.from_text(text % 12288).get_function("kernel")((1,), (1,), (floats(1), 9))
    with pytest.raises(CudaError, match="its __shared__ arrays take 49156 bytes of 49152 that there are"):
        Module.from_text(text % 12289).get_function("kernel")((1,), (1,), (floats(1), 9))


def test_after_an_error_the_next_launch_works(add):
    for planted in (RACES[0], MEMORY[0]):
        wrong = Module.from_text(planted.text(wrong=True), "mine.cu").get_function("kernel")
        right = Module.from_text(planted.text(wrong=False), "mine.cu").get_function("kernel")
        for function in (wrong, right, wrong, right):
            x, y = floats(64), floats(64)
            if function is wrong:
                with pytest.raises(CudaError):
                    function((1,), (64,), (x, y, 64))
            else:
                function((1,), (64,), (x, y, 64))
    # An error in one thread of a block, with which the library then goes on.
    x, y = floats(64), floats(64)
    with pytest.raises(CudaError, match=r"thread \(60, 0, 0\) reads at add.cu:3 element 60 of x, which has 60"):
        add((1,), (64,), (x[:60].copy(), y, 64, 1))
    add((1,), (64,), (x, y, 64, 1))
    np.testing.assert_array_equal(y, x + 1)


def test_a_line_in_an_included_file_is_named_with_the_line_that_calls_it(tmp_path):
    (tmp_path / "pick.cuh").write_text("__device__ inline float pick(const float *x, int i) {\n    return x[i];\n}\n")
    text = """#include "pick.cuh"
extern "C" __global__ void kernel(const float *x, float *y) {
    y[0] = pick(x, 4);
}"""
    with pytest.raises(CudaError, match=r"reads at pick.cuh:2 \(called at mine.cu:3\) element 4 of x, which has 4"):
        Module.from_text(text, tmp_path / "mine.cu").get_function("kernel")((1,), (1,), (floats(4), floats(1)))


def test_a_change_in_an_included_file_is_compiled(tmp_path):
    for value in (1, 2):
        (tmp_path / "value.cuh").write_text(f"#define VALUE {value}\n")
        text, y = '#include "value.cuh"\nextern "C" __global__ void kernel(float *y) { y[0] = VALUE; }', floats(1)
        Module.from_text(text, tmp_path / "mine.cu").get_function("kernel")((1,), (1,), (y,))
        assert y[0] == value


def test_without_a_race_detector_the_results_of_a_race_still_differ_between_orders():
    """The exchange of two numbers through memory that is no argument's: nothing watches it but the orders."""
    text = """__device__ float between[2];
extern "C" __global__ void kernel(const float *x, float *y) {
    between[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = between[1 - threadIdx.x];
}"""
    function, results = Module.from_text(text).get_function("kernel"), set()
    for order in (0, 1):
        y = floats(2)
        with turns_in_order(order):
            function((1,), (2,), (floats(2) + order + 1, y))
        results.add(tuple(y - order))
    assert len(results) == 2


def test_an_error_of_the_compiler_is_shown_with_the_line_of_the_source():
    with pytest.raises(RuntimeError, match=r"mine.cu does not compile for the CPU:\n(?s:.*)mine.cu:3:12: error"):
        Module.from_text('\nextern "C" __global__ void kernel(float *y) {\n    y[0] = unknown;\n}\n', "mine.cu")


def test_a_parameter_of_an_unknown_type_is_named():
    with pytest.raises(ValueError, match="parameter 'y' of kernel is a 'half'"):
        Module.from_text('extern "C" __global__ void kernel(half *y) {}')


def test_without_a_compiler_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(NoCompiler, match=r"needs a C\+\+ compiler, and none was found: install g\+\+"):
        Module.from_text(ADD, "add.cu")


def test_a_damaged_library_is_built_again(cache):
    expected = Module.from_text(ADD, "add.cu").path
    whole = expected.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-1]):
        expected.unlink()  # the one that is loaded stays as it is
        expected.write_bytes(damaged)
        function = Module.from_text(ADD, "add.cu").get_function("add")
        y = floats(4)
        function((1,), (32,), (floats(4), y, 4, 1))
        np.testing.assert_array_equal(y, floats(4) + 1)


def test_processes_and_threads_may_build_the_same_at_once(cache):
    program = "from test_cuda_on_cpu import *; assert Module.from_text(ADD, 'add.cu').path.is_file()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    other = subprocess.Popen([sys.executable, "-c", program], env=environment)
    built = []
    threads = [threading.Thread(target=lambda: built.append(Module.from_text(ADD, "add.cu"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait() == 0 and len(built) == 3
    assert len(list(cache.glob("*.so"))) == 1 and all(path.is_file() for path in cache.iterdir())


def test_a_compiler_that_cannot_check_is_used_without(cache, tmp_path, monkeypatch):
    """Then guard pages still catch what runs over an end, and orders of turns give a race away."""
    wrapper = tmp_path / "simple"
    wrapper.write_text('#!/bin/sh\ncase "$*" in *-fsanitize*) echo unknown option; exit 1;; esac\nexec g++ "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("CXX", str(wrapper))
    simple = Module.from_text(ADD, "add.cu")
    assert not simple.checked
    function, y = simple.get_function("add"), np.zeros(1024, np.float32)
    with turns_in_order(1), pytest.raises(CudaError, match=r"reads at add.cu:3 element 1024 of x, which has 1024"):
        function((1,), (1024,), (floats(1024), y, 1025, 1))
        function((2,), (1024,), (floats(1024), y, 1025, 1))
    with tracing(), pytest.raises(RuntimeError, match="cannot be traced"):
        function((1,), (32,), (floats(32), floats(32), 32, 1))


def test_the_trace_has_the_steps_of_one_block():
    text = """extern "C" __global__ void kernel(const float *x, float *y, int *counter) {
    __shared__ float tile[32];
    tile[threadIdx.x] = x[blockIdx.x * 32 + threadIdx.x];
    __syncwarp();
    y[blockIdx.x * 32 + threadIdx.x] = tile[31 - threadIdx.x];
    atomicAdd(counter, 1);
}"""
    function = Module.from_text(text, "mine.cu").get_function("kernel")
    with tracing(block=(1, 0, 0)) as events:
        function((2,), (32,), (floats(64), floats(64), np.zeros(1, np.int32)))
    of_first = [(e.line, e.what, e.array, e.index, e.value) for e in events if e.thread == (0, 0, 0)]
    assert of_first == [
        ("mine.cu:3", "read", "x", 32, 32.0),
        ("mine.cu:3", "write", "tile", 0, 32.0),
        ("mine.cu:4", "__syncwarp", "", None, None),
        ("mine.cu:5", "read", "tile", 31, 63.0),
        ("mine.cu:5", "write", "y", 32, 63.0),
        ("mine.cu:6", "update", "counter", 0, 33),
    ]
    assert len(events) == 32 * 6


def test_the_trace_has_a_limit_over_all_launches(add):
    with tracing(limit=5) as events:
        for _ in range(3):
            add((1,), (1,), (floats(1), floats(1), 1, 1))
    assert [event.what for event in events] == ["read", "write", "read", "write", "read"]
    add((1,), (1,), (floats(1), floats(1), 1, 1))
    assert len(events) == 5


def test_the_trace_shows_the_steps_that_led_to_an_error(add):
    with tracing() as events, pytest.raises(CudaError):
        add((1,), (2,), (floats(1), floats(2), 2, 1))
    assert [(event.thread[0], event.what) for event in events] == [(0, "read"), (0, "write")]


def test_a_vector_is_several_values():
    text = 'extern "C" __global__ void kernel(const float *x, float *y) { *(float4 *)y = *(const float4 *)x; }'
    with tracing() as events:
        Module.from_text(text).get_function("kernel")((1,), (1,), (floats(4), np.zeros(4, np.float32)))
    values = [event.value for event in events if event.what == "write"]
    assert values in ([(0.0, 1.0, 2.0, 3.0)], [0.0, 1.0, 2.0, 3.0])  # the compiler may take them apart


@pytest.mark.parametrize("of", [module, trace], ids=["module", "trace"])
def test_the_examples_in_the_docstrings(of):
    result = doctest.testmod(of)
    assert result.attempted and not result.failed


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts mappings as Linux shows them")
def test_only_the_library_that_ran_last_keeps_its_stacks():
    """A process may have 65,530 mappings, and the stacks of a block of 1,024 threads are two thousand."""
    counts = []
    for i in range(3):
        text = f'extern "C" __global__ void fill(float *x) {{ x[threadIdx.x] = {i}; }}'
        x = np.zeros(1024, np.float32)
        Module.from_text(text, f"fill{i}.cu").get_function("fill")((1,), (1024,), (x,))
        assert (x == i).all()
        counts.append(len(Path("/proc/self/maps").read_text().splitlines()))
    assert counts[2] < counts[0] + 200
