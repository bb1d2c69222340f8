// Layer normalisation in three steps: y = gamma (x - mean) / sqrt(var + eps) + beta for each row of x (rows, width).
// What training uses, in layer_norm.cu, is step 3 with wider reads, the residual addition and a backward pass.
#include "common.cuh"

// Step 1: a thread for each row, the loop that one would write on a CPU. Correct, and slow for two reasons. The threads
// of a warp read numbers that lie a whole row apart, so that each read of the warp is 32 transactions of 32 bytes, of
// which it uses 4 bytes. And there are only as many threads as rows, few of which hide the time that a read takes.
extern "C" __global__ void layer_norm_thread_a_row(const T *x, const T *gamma, const T *beta, T *y, int rows, int width,
                                                   float eps) {
    long long row = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    x += row * width, y += row * width;
    float sum = 0, squares = 0;
    for (int i = 0; i < width; i++) sum += load(x + i);
    float mean = sum / width;
    for (int i = 0; i < width; i++) squares += (load(x + i) - mean) * (load(x + i) - mean);
    float inverse_std = rsqrtf(squares / width + eps);
    for (int i = 0; i < width; i++) store(y + i, (load(x + i) - mean) * inverse_std * load(gamma + i) + load(beta + i));
}

// The sum over the threads of a block, in every thread, through shared memory (blockDim.x floats): each round adds the
// upper half of the numbers to the lower one. The number of threads is a power of two.
__device__ inline float tree_sum(float value, float *shared) {
    shared[threadIdx.x] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    float sum = shared[0];
    __syncthreads();  // nobody writes the next sum's numbers before all have read this one
    return sum;
}

// Step 2: a block for each row. Neighbouring threads now read neighbouring numbers ("coalesced"), and 32 of them share
// one transaction: every byte that memory sends is used. There are as many threads at work as the GPU can hold. What is
// left: the row is read three times, and each sum takes eight barriers, at which most threads wait.
extern "C" __global__ void layer_norm_block_a_row(const T *x, const T *gamma, const T *beta, T *y, int rows, int width,
                                                  float eps) {
    __shared__ float shared[128];
    x += (long long)blockIdx.x * width, y += (long long)blockIdx.x * width;
    float sum = 0, squares = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += load(x + i);
    float mean = tree_sum(sum, shared) / width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) squares += (load(x + i) - mean) * (load(x + i) - mean);
    float inverse_std = rsqrtf(tree_sum(squares, shared) / width + eps);
    for (int i = threadIdx.x; i < width; i += blockDim.x)
        store(y + i, (load(x + i) - mean) * inverse_std * load(gamma + i) + load(beta + i));
}

// How many numbers of its row a lane holds: a constant of the compiler, since registers have no index that could vary.
#ifndef HELD
#define HELD 6
#endif

// Step 3: a warp for each row. Its 32 lanes run in step and exchange registers directly (the shuffles in warp_sum), so
// that sums need neither shared memory nor barriers; and the row stays in registers, so that it is read once.
extern "C" __global__ void layer_norm_warp_a_row(const T *x, const T *gamma, const T *beta, T *y, int rows, int width,
                                                 float eps) {
    long long row = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (row >= rows) return;  // a whole warp leaves together
    x += row * width, y += row * width;
    float values[HELD], sum = 0, squares = 0;
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        int i = k * 32 + lane;
        values[k] = i < width ? load(x + i) : 0;
        sum += values[k];
    }
    float mean = warp_sum(sum) / width;
#pragma unroll
    for (int k = 0; k < HELD; k++)
        if (k * 32 + lane < width) squares += (values[k] - mean) * (values[k] - mean);
    float inverse_std = rsqrtf(warp_sum(squares) / width + eps);
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        int i = k * 32 + lane;
        if (i < width) store(y + i, (values[k] - mean) * inverse_std * load(gamma + i) + load(beta + i));
    }
}
