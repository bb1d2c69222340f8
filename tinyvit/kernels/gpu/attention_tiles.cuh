// What the attention kernels on tensor cores have in common: see attention_tensor_cores.cu. HEAD_WIDTH is D/H, at most
// 128; in shared memory and in registers it is padded with zeros to WIDTH, a multiple of 16.
#pragma once
#include <cuda_pipeline_primitives.h>

#include "tensor_cores.cuh"

#ifndef HEAD_WIDTH
#define HEAD_WIDTH 64
#endif

const int WIDTH = (HEAD_WIDTH + 15) / 16 * 16;
const int PARTS = WIDTH / 16;  // tiles side by side in a row
const int STRIDE = WIDTH + 8;  // from row to row in shared memory: 16 bytes more, so that 8 rows lie in all 32 banks
const int TILE = WIDTH > 64 ? 32 : 64;  // rows of a shared tile
const int GROUPS = TILE / 16;
const int MOST_WARPS = 4;      // in a block: their own rows pass through the room of two tiles

// How many blocks a multiprocessor should have room for, which sets how many registers a thread may use: 128 for 4
// blocks of 4 warps, 168 for 3, 255 for 2. The most that leave enough registers.
#ifdef ANYWHERE
const int OCCUPANCY = 1, KEYS_OCCUPANCY = 1;
#else
const int OCCUPANCY = WIDTH > 64 ? 2 : 4, KEYS_OCCUPANCY = WIDTH > 64 ? 2 : 3;
#endif

const float LOG2_E = 1.4426950408889634f;

__device__ inline float minus_infinity() { return __int_as_float(0xff800000); }

// Which rows of which head a block works on: blocks of one head are neighbours, so that they share its rows in cache.
struct Head {
    int batch, head, width;  // width: D, of all heads together
    int first;               // the block's first row
    long long pair;          // of all heads of all examples

    __device__ Head(int heads, int blocks) {
        pair = blockIdx.x / blocks;
        batch = pair / heads, head = pair % heads, width = heads * HEAD_WIDTH;
        first = blockIdx.x % blocks * (blockDim.x / 2);
    }
    // Its numbers in the first of `tokens` rows, of a matrix `wide` times as wide as D; `part`: 0, 1, 2 for q, k, v.
    __device__ long long offset(int tokens, int wide, int part) const {
        return (long long)batch * tokens * wide * width + part * width + head * HEAD_WIDTH;
    }
};

// Begins to copy `rows` rows to shared memory: zeros below the `there` rows that there are, and right of HEAD_WIDTH.
// All threads of the block take part; neighbouring threads read neighbouring 16 bytes. The copies go past the
// registers, and all are under way at once: memory is waited for once, in finish_copies, and not for each 16 bytes.
__device__ void copy_in(__nv_bfloat16 *tile, const __nv_bfloat16 *from, int stride, int rows, int there) {
    for (int i = threadIdx.x; i < rows * (WIDTH / VECTOR); i += blockDim.x) {
        int row = i / (WIDTH / VECTOR), column = i % (WIDTH / VECTOR) * VECTOR;
        __nv_bfloat16 *to = tile + row * STRIDE + column;
        const __nv_bfloat16 *source = from + (long long)row * stride + column;
        if (row >= there || column >= HEAD_WIDTH)
            *(Vector *)to = Vector{};
        else if (VECTOR > 1)
            __pipeline_memcpy_async(to, source, 16);
        else
            *to = *source;
    }
}

// Waits for the thread's own copies; a barrier must follow.
__device__ inline void finish_copies() {
    __pipeline_commit();
    __pipeline_wait_prior(0);
}

// Writes a warp's 16 rows, `there` of which there are, times a factor for each. They pass through its 16 rows of shared
// memory: from there each row leaves in whole 16 bytes.
__device__ void copy_out(const Cells &cells, const Sums *sums, const float *factors, __nv_bfloat16 *rows,
                         __nv_bfloat16 *to, int stride, int there) {
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int r = cells.row_of(i);
            rows[cells.row(r) * STRIDE + 16 * part + cells.column(i)] =
                __float2bfloat16(sums[part].x[i] * factors[r]);
        }
    __syncwarp();
    for (int i = threadIdx.x % 32; i < there * (HEAD_WIDTH / VECTOR); i += 32) {
        int row = i / (HEAD_WIDTH / VECTOR), column = i % (HEAD_WIDTH / VECTOR) * VECTOR;
        *(Vector *)(to + (long long)row * stride + column) = *(const Vector *)(rows + row * STRIDE + column);
    }
    __syncwarp();
}

__device__ inline void load_lefts(Left *lefts, const __nv_bfloat16 *rows) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) Cells::load(lefts[part], rows + 16 * part, STRIDE);
}

__device__ inline void clear(Sums *sums) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) wmma::fill_fragment(sums[part], 0.0f);
}

// sums = lefts rows^T: 16 x WIDTH times WIDTH x 16.
__device__ inline void multiply_transposed(Sums &sums, const Left *lefts, const __nv_bfloat16 *rows) {
    wmma::fill_fragment(sums, 0.0f);
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        RightTransposed right;
        Cells::load(right, rows + 16 * part, STRIDE);
        wmma::mma_sync(sums, lefts[part], right, sums);
    }
}

// The same, with the left operands in shared memory too: slower, where there is no room for them in registers.
__device__ inline void multiply_transposed(Sums &sums, const __nv_bfloat16 *lefts, const __nv_bfloat16 *rows) {
    wmma::fill_fragment(sums, 0.0f);
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        Left left;
        RightTransposed right;
        Cells::load(left, lefts + 16 * part, STRIDE);
        Cells::load(right, rows + 16 * part, STRIDE);
        wmma::mma_sync(sums, left, right, sums);
    }
}

// sums += left rows: 16 x 16 times 16 x WIDTH.
__device__ inline void add_product(Sums *sums, const Left &left, const __nv_bfloat16 *rows) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        Right right;
        Cells::load(right, rows + 16 * part, STRIDE);
        wmma::mma_sync(sums[part], left, right, sums[part]);
    }
}

// scratch[row] = sum(dout out) over each of a warp's 16 rows, the first `there` of which there are: dout lies in shared
// memory. Two lanes share a row.
__device__ inline void row_deltas(const __nv_bfloat16 *out, int stride, const __nv_bfloat16 *dout, int there,
                                  float *scratch) {
    int row = threadIdx.x % 32 / 2;
    float sum = 0;
    if (row < there)
        for (int column = threadIdx.x % 2 * VECTOR; column < HEAD_WIDTH; column += 2 * VECTOR) {
            float a[VECTOR], b[VECTOR];
            load_vector(out + (long long)row * stride + column, a);
            load_vector(dout + row * STRIDE + column, b);
            for (int i = 0; i < VECTOR; i++) sum += a[i] * b[i];
        }
    sum += __shfl_xor_sync(all_lanes, sum, 1);
    if (threadIdx.x % 2 == 0) scratch[row] = sum;
    __syncwarp();
}
