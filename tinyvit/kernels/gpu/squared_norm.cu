// The sum of squares. The first of two launches: a partial sum for each block; total.cu adds those up.
#include "blocks.cuh"
#include "vectors.cuh"

extern "C" __global__ void squared_norm(const T *x, float *partials, long long count) {
    __shared__ float shared[32];
    // A sum for each number of a vector: the additions of one thread do not wait for each other.
    float sums[VECTOR] = {};
    long long step = (long long)gridDim.x * blockDim.x * VECTOR;
#pragma unroll 2
    for (long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * VECTOR; i < count; i += step) {
        float values[VECTOR];
        load_vector(x + i, values);
#pragma unroll
        for (int k = 0; k < VECTOR; k++) sums[k] += values[k] * values[k];
    }
    float sum = 0;
#pragma unroll
    for (int k = 0; k < VECTOR; k++) sum += sums[k];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}
