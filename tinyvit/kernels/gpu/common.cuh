// What every kernel here uses: the type T of activations, and sums over the threads of a warp or a block.
//
// Activations are stored as T, float or (with -DBFLOAT16) bfloat16; every sum and every statistic is a float.
#pragma once

#ifdef BFLOAT16
#include <cuda_bf16.h>
typedef __nv_bfloat16 T;
#else
typedef float T;
#endif

__device__ inline float load(const float *address) { return *address; }
__device__ inline void store(float *address, float value) { *address = value; }
#ifdef BFLOAT16
__device__ inline float load(const __nv_bfloat16 *address) { return __bfloat162float(*address); }
__device__ inline void store(__nv_bfloat16 *address, float value) { *address = __float2bfloat16(value); }
#endif

const unsigned all_lanes = 0xffffffff;

// The sum over the 32 lanes of a warp, in every lane. In each round a lane adds what the lane at half the distance
// holds, so that five rounds reach all: the numbers travel between registers, and no memory is touched.
__device__ inline float warp_sum(float value) {
    for (int distance = 16; distance > 0; distance /= 2)
        value += __shfl_xor_sync(all_lanes, value, distance);
    return value;
}

__device__ inline float warp_max(float value) {
    for (int distance = 16; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(all_lanes, value, distance));
    return value;
}
