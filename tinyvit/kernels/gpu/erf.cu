// The error function, element by element.
#include "vectors.cuh"

extern "C" __global__ void erf_forward(const T *x, T *y, long long count) {
    long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * VECTOR;
    if (i >= count) return;
    float values[VECTOR];
    load_vector(x + i, values);
#pragma unroll
    for (int k = 0; k < VECTOR; k++) values[k] = erff(values[k]);
    store_vector(y + i, values);
}
