// Sums over the rows of a matrix, one a column: the gradient of a bias.
//
// In two launches. The first gives each block some rows, and leaves one partial sum a block and column; the second adds
// those up. Both add in an order that the shape alone fixes, so the result is the same in every run, which atomics on
// floating-point numbers cannot promise. Each number of x is read once; the partial sums are a small part of that.
#include "columns.cuh"

extern "C" __global__ void partial_column_sums(const T *x, float *partials, int rows, int width, int rows_a_block) {
    __shared__ float shared[WARPS * VECTOR * 33];
    float sums[VECTOR] = {};
    int column = first_column();
    if (column < width) {
        // Four rows at a time: their reads are all under way before the first sum needs its number.
#pragma unroll 4
        for (long long row = first_row(rows_a_block) + threadIdx.y; row < last_row(rows_a_block, rows); row += WARPS) {
            float values[VECTOR];
            load_vector(x + row * width + column, values);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) sums[i] += values[i];
        }
    }
    write_partial_sums(sums, shared, partials, width);
}

// The sums over the rows of partials (count, width). A block has 32 columns and as many warps as a block can: there is
// little to read, and what takes time is waiting for it, so many reads must be under way at once.
extern "C" __global__ void sum_of_partials(const float *partials, T *sums, int count, int width) {
    __shared__ float shared[32][33];
    int column = blockIdx.x * 32 + threadIdx.x;
    float sum = 0;
    if (column < width)
#pragma unroll 8
        for (int row = threadIdx.y; row < count; row += 32) sum += partials[(long long)row * width + column];
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    // Transposed: a warp now holds the 32 partial sums of one column.
    sum = warp_sum(shared[threadIdx.x][threadIdx.y]);
    column = blockIdx.x * 32 + threadIdx.y;
    if (threadIdx.x == 0 && column < width) store(sums + column, sum);
}
