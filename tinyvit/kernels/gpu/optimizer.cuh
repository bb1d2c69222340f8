// What the optimisers' kernels share. All parameters of a model lie in one flat array, and so do their gradients and
// what the optimiser remembers: one launch updates them all.
//
// A thread updates VECTOR neighbouring numbers: 4, which are 16 bytes of float32, or 1 (with -DVECTOR=1) where the
// arrays do not begin at multiples of 16 bytes. Gradients are of type T, all else is float32; `working`, where it is
// given, receives the new parameters rounded to bfloat16, for the next forward pass: they are in registers anyway.
#pragma once
#include <cuda_bf16.h>

#include "common.cuh"

#ifndef VECTOR
#define VECTOR 4
#endif

template <typename X> struct alignas(VECTOR * sizeof(X)) Numbers {
    X at[VECTOR];
};

template <typename X> __device__ inline Numbers<X> &numbers(X *array, long long first) {
    return *(Numbers<X> *)(array + first);
}

template <typename X> __device__ inline Numbers<X> numbers(const X *array, long long first) {
    return *(const Numbers<X> *)(array + first);
}

// The first of this thread's numbers.
__device__ inline long long first_number() { return ((long long)blockIdx.x * blockDim.x + threadIdx.x) * VECTOR; }

__device__ inline void store_working(__nv_bfloat16 *working, long long first, const Numbers<float> &parameters) {
    if (!working) return;
    Numbers<__nv_bfloat16> rounded;
#pragma unroll
    for (int i = 0; i < VECTOR; i++) rounded.at[i] = __float2bfloat16(parameters.at[i]);
    numbers(working, first) = rounded;
}
