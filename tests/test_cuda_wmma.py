"""The stand-ins for CUDA's mma.h and cuda_pipeline_primitives.h: what they do, and what they report."""

import ml_dtypes
import numpy as np
import pytest

from tinyvit.kernels.cuda_on_cpu import CudaError, Module, turns_in_order

PRODUCT = """#include <cuda_bf16.h>
#include <mma.h>
using namespace nvcuda;
extern "C" __global__ void product(const __nv_bfloat16 *left, const __nv_bfloat16 *right, float *sums) {
    wmma::fragment<wmma::matrix_a, ROWS, COLUMNS, 16, __nv_bfloat16, wmma::LEFT> a;
    wmma::fragment<wmma::matrix_b, ROWS, COLUMNS, 16, __nv_bfloat16, wmma::RIGHT> b;
    wmma::fragment<wmma::accumulator, ROWS, COLUMNS, 16, float> c;
    wmma::load_matrix_sync(a, left, LEFT_STRIDE);
    wmma::load_matrix_sync(b, right, RIGHT_STRIDE);
    wmma::load_matrix_sync(c, sums, SUMS_STRIDE, wmma::SUMS);
    wmma::mma_sync(c, a, b, c);
    for (int i = 0; i < c.num_elements; i++) c.x[i] *= 2;
    wmma::store_matrix_sync(sums, c, SUMS_STRIDE, wmma::SUMS);
}
"""
KERNEL = """#include <cuda_bf16.h>
#include <mma.h>
using namespace nvcuda;
extern "C" __global__ void kernel(const float *from, float *to) {
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> c;
%s
}
"""
"""The body begins in line 6."""
ORDERS = (0, 1, 2)


def run(tmp_path, text: str, *arguments, order: int = 0, threads: int = 32) -> None:
    """Run the one kernel of ``text`` with one block."""
    path = tmp_path / "kernel.cu"
    path.write_text(text, encoding="utf-8")
    module = Module(path)
    with turns_in_order(order):
        module.get_function(*module.source.kernels)((1,), (threads,), arguments)


def aligned(*shape: int) -> np.ndarray:
    """An array of zeros that begins at a multiple of 32 bytes, as all on a GPU do."""
    size = int(np.prod(shape))
    memory = np.zeros(size + 8, np.float32)
    begin = -memory.ctypes.data % 32 // 4
    return memory[begin : begin + size].reshape(shape)


def laid_out(matrix: np.ndarray, layout: str, padding: int) -> tuple[np.ndarray, int]:
    """The matrix as it lies in memory, each row (or column) followed by ``padding`` NaNs, and its stride."""
    lines = matrix if layout == "row_major" else matrix.T
    padded = np.pad(lines, ((0, 0), (0, padding)), constant_values=np.nan)
    memory = aligned(padded.size).view(padded.dtype)[: padded.size].reshape(padded.shape)
    memory[:] = padded
    return memory, padded.shape[1]


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (32, 8), (8, 32)])
@pytest.mark.parametrize(
    ("left", "right", "sums"),
    [("row_major", "col_major", "row_major"), ("col_major", "row_major", "col_major")],
)
def test_a_product_of_tiles(tmp_path, rows, columns, left, right, sums):
    random = np.random.default_rng(0)
    a, b = (random.normal(size=s).astype(ml_dtypes.bfloat16) for s in ((rows, 16), (16, columns)))
    c = random.normal(size=(rows, columns)).astype(np.float32)
    (a_memory, a_stride), (b_memory, b_stride) = laid_out(a, left, 8), laid_out(b, right, 16)
    constants = {"ROWS": rows, "COLUMNS": columns, "LEFT": left, "RIGHT": right, "SUMS": f"mem_{sums}"}
    for order in ORDERS:
        c_memory, c_stride = laid_out(c, sums, 4)
        strides = {"LEFT_STRIDE": a_stride, "RIGHT_STRIDE": b_stride, "SUMS_STRIDE": c_stride}
        defines = "".join(f"#define {name} {value}\n" for name, value in (constants | strides).items())
        run(tmp_path, defines + PRODUCT, a_memory, b_memory, c_memory, order=order)
        found = c_memory[:, :-4] if sums == "row_major" else c_memory[:, :-4].T
        expected = 2 * (a.astype(np.float64) @ b.astype(np.float64) + c)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        assert np.isnan(c_memory[:, -4:]).all()  # what lies between the rows is left alone


def test_each_number_is_in_one_lane_and_not_where_it_was_in_another_order(tmp_path):
    body = """    wmma::load_matrix_sync(c, from, 16, wmma::mem_row_major);
    for (int i = 0; i < c.num_elements; i++) to[threadIdx.x * c.num_elements + i] = c.x[i];"""
    numbers, held = aligned(16, 16), {}
    numbers[:] = np.arange(256).reshape(16, 16)
    for order in ORDERS:
        held[order] = aligned(32, 8)
        run(tmp_path, KERNEL % body, numbers, held[order], order=order)
        np.testing.assert_array_equal(np.sort(held[order], axis=None), np.arange(256))
    np.testing.assert_array_equal(held[0][5], [18, 19, 146, 147, 26, 27, 154, 155])  # row 1 and row 9, as on sm_80
    assert (held[0] != held[1]).mean() > 0.9


def test_a_fragment_that_nothing_was_put_into_is_not_a_number(tmp_path):
    result = aligned(16, 16)
    run(tmp_path, KERNEL % "    wmma::store_matrix_sync(to, c, 16, wmma::mem_row_major);", result, result)
    assert np.isnan(result).all()


def test_a_fragment_is_filled_and_stored(tmp_path):
    body = """    wmma::fill_fragment(c, 3.0f);
    wmma::store_matrix_sync(to, c, 16, wmma::mem_row_major);"""
    result = aligned(16, 16)
    run(tmp_path, KERNEL % body, result, result)
    assert (result == 3).all()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "if (threadIdx.x < 7) wmma::load_matrix_sync(c, from, 16, wmma::mem_row_major);",
            "divergent load_matrix_sync: .* waits in load_matrix_sync at kernel.cu:6, but .* has left the kernel",
        ),
        (
            "wmma::load_matrix_sync(c, from + 4, 16, wmma::mem_row_major);",
            "kernel.cu:6: load_matrix_sync: the tile begins 16 bytes after a multiple of 32",
        ),
        (
            "wmma::store_matrix_sync(to + 1, c, 16, wmma::mem_row_major);",
            "kernel.cu:6: store_matrix_sync: the tile begins 4 bytes after a multiple of 32",
        ),
        (
            "wmma::load_matrix_sync(c, from, 18, wmma::mem_row_major);",
            "kernel.cu:6: load_matrix_sync: the distance of 18 from row to row is no multiple of 4",
        ),
        (
            "wmma::load_matrix_sync(c, from, 16 + threadIdx.x % 2 * 4, wmma::mem_row_major);",
            "kernel.cu:6: load_matrix_sync: the lanes name different tiles",
        ),
        (
            "wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> a;\n"
            "wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::row_major> b;\n"
            "if (threadIdx.x) wmma::mma_sync(c, a, b, c);\n"
            "else __syncwarp();",
            "divergent .* waits in mma_sync at kernel.cu:8",
        ),
    ],
)
def test_what_cuda_forbids_is_reported_with_its_line(tmp_path, body, message):
    with pytest.raises(CudaError, match=message):
        run(tmp_path, KERNEL % body, aligned(32, 32), aligned(32, 32))


ASYNCHRONOUS = """#include <cuda_pipeline_primitives.h>
extern "C" __global__ void kernel(const float *from, float *to, int bytes, int prior) {
    __shared__ __align__(16) float shared[64];
    __pipeline_memcpy_async(shared + threadIdx.x, from + threadIdx.x, bytes);
    __pipeline_commit();
    __pipeline_memcpy_async(shared + threadIdx.x + 32, from + threadIdx.x + 32, bytes);
    __pipeline_commit();
    __pipeline_wait_prior(prior);
    to[threadIdx.x] = shared[threadIdx.x];
    to[threadIdx.x + 32] = shared[threadIdx.x + 32];
}
"""


def test_an_asynchronous_copy_is_there_once_it_was_waited_for(tmp_path):
    numbers = aligned(64)
    numbers[:] = np.arange(64)
    result = aligned(64)
    run(tmp_path, ASYNCHRONOUS, numbers, result, 4, 0)
    np.testing.assert_array_equal(result, numbers)
    for prior, message in ((2, "kernel.cu:9 element 0 of shared"), (1, "kernel.cu:10 element 32 of shared")):
        with pytest.raises(CudaError, match=f"{message}: shared memory that no thread of the block has written"):
            run(tmp_path, ASYNCHRONOUS, numbers, result, 4, prior)


def test_an_asynchronous_copy_of_a_misaligned_address_is_reported(tmp_path):
    message = r"thread \(1, 0, 0\) at kernel.cu:4: __pipeline_memcpy_async: an address is no multiple of 16 bytes"
    with pytest.raises(CudaError, match=message):
        run(tmp_path, ASYNCHRONOUS, aligned(64), aligned(64), 16, 0)


def test_a_warp_that_is_not_whole_has_no_tensor_core(tmp_path):
    with pytest.raises(CudaError, match="divergent load_matrix_sync"):
        body = "wmma::load_matrix_sync(c, from, 16, wmma::mem_row_major);"
        run(tmp_path, KERNEL % body, aligned(16, 16), aligned(16, 16), threads=24)
