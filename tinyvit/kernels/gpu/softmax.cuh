// The two numbers that a softmax needs of its row, found in one pass over it.
#pragma once
#include "vectors.cuh"

const float LOWEST = -3.402823466e38f;  // the lowest float that is not infinite: a maximum of nothing

// Of the numbers that a thread has seen: the largest, and the sum of exp(x - largest). Where a new number is larger,
// the sum made so far is scaled down to it ("online softmax"), so that no exp can overflow.
struct Exponentials {
    float largest, sum;
};

__device__ inline void see(Exponentials &seen, const float *values) {
    float before = seen.largest;
#pragma unroll
    for (int i = 0; i < VECTOR; i++) seen.largest = fmaxf(seen.largest, values[i]);
    seen.sum *= expf(before - seen.largest);
#pragma unroll
    for (int i = 0; i < VECTOR; i++) seen.sum += expf(values[i] - seen.largest);
}
