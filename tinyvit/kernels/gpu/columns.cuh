// Working through a matrix by columns: each thread keeps VECTOR columns and walks down its block's rows.
//
// A block is 32 lanes by WARPS warps. The lanes of a warp hold neighbouring columns, so that a warp reads one row in
// wide transactions; each warp takes every WARPS-th row of the block's. What belongs to a column (a bias, a sum) then
// stays in registers all the way down.
#pragma once
#include "vectors.cuh"

#define WARPS 8

// The first of the columns that this thread keeps; it has none where that is the width or more.
__device__ inline int first_column() { return (blockIdx.x * 32 + threadIdx.x) * VECTOR; }

// The rows of this block: from first_row to last_row.
__device__ inline long long first_row(int rows_a_block) { return (long long)blockIdx.y * rows_a_block; }
__device__ inline long long last_row(int rows_a_block, int rows) {
    return min(first_row(rows_a_block) + rows_a_block, (long long)rows);
}

// Adds up, over the warps of the block, what each thread has summed for its columns, in one fixed order, and writes the
// block's sums to its row of partials (blocks, width). `shared` holds WARPS * VECTOR * 33 floats: with 33 instead of 32
// neighbouring threads read from different banks.
__device__ inline void write_partial_sums(const float *sums, float *shared, float *partials, int width) {
#pragma unroll
    for (int i = 0; i < VECTOR; i++) shared[(threadIdx.y * VECTOR + i) * 33 + threadIdx.x] = sums[i];
    __syncthreads();
    for (int c = threadIdx.y * 32 + threadIdx.x; c < 32 * VECTOR; c += 32 * WARPS) {
        int column = blockIdx.x * 32 * VECTOR + c;
        if (column >= width) break;
        float sum = 0;
        for (int warp = 0; warp < WARPS; warp++) sum += shared[(warp * VECTOR + c % VECTOR) * 33 + c / VECTOR];
        partials[(long long)blockIdx.y * width + column] = sum;
    }
}
