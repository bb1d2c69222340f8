// Sums over all threads of a block.
#pragma once
#include "common.cuh"

// The sum over the threads of a block, in every thread: each warp adds up its own, then all warps add up what the warps
// found. `shared` holds 32 floats; it may be used again for the next sum.
__device__ inline float block_sum(float value, float *shared) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    value = warp_sum(value);
    __syncthreads();  // all have read the sum before this one
    if (lane == 0) shared[warp] = value;
    __syncthreads();
    return warp_sum(lane < warps ? shared[lane] : 0);
}

// The largest number of a block, in every thread, found in the same way.
__device__ inline float block_max(float value, float *shared) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    value = warp_max(value);
    __syncthreads();
    if (lane == 0) shared[warp] = value;
    __syncthreads();
    return warp_max(shared[lane < warps ? lane : 0]);
}
