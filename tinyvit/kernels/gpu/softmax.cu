// Softmax over the rows of a matrix, a warp for each row.
//
// A row is read twice: once for its largest number and the sum of exponentials, once for the result. The second time it
// comes from the cache.
#include "softmax.cuh"

// y = exp(x) / sum(exp(x)). y may be x itself: a lane writes only where it has read for the last time.
extern "C" __global__ void softmax_forward(const T *x, T *y, int rows, int width) {
    long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;  // a whole warp leaves together
    x += row * width, y += row * width;
    Exponentials seen = {LOWEST, 0};
    for (int i = threadIdx.x * VECTOR; i < width; i += 32 * VECTOR) {
        float values[VECTOR];
        load_vector(x + i, values);
        see(seen, values);
    }
    float largest = warp_max(seen.largest);
    float inverse_sum = 1 / warp_sum(seen.sum * expf(seen.largest - largest));
    for (int i = threadIdx.x * VECTOR; i < width; i += 32 * VECTOR) {
        float values[VECTOR];
        load_vector(x + i, values);
#pragma unroll
        for (int k = 0; k < VECTOR; k++) values[k] = expf(values[k] - largest) * inverse_sum;
        store_vector(y + i, values);
    }
}

// dx = y (dout - sum(dout y)).
extern "C" __global__ void softmax_backward(const T *dout, const T *y, T *dx, int rows, int width) {
    long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    dout += row * width, y += row * width, dx += row * width;
    float sum = 0;
    for (int i = threadIdx.x * VECTOR; i < width; i += 32 * VECTOR) {
        float d[VECTOR], values[VECTOR];
        load_vector(dout + i, d);
        load_vector(y + i, values);
#pragma unroll
        for (int k = 0; k < VECTOR; k++) sum += d[k] * values[k];
    }
    sum = warp_sum(sum);
    for (int i = threadIdx.x * VECTOR; i < width; i += 32 * VECTOR) {
        float d[VECTOR], values[VECTOR];
        load_vector(dout + i, d);
        load_vector(y + i, values);
#pragma unroll
        for (int k = 0; k < VECTOR; k++) values[k] *= d[k] - sum;
        store_vector(dx + i, values);
    }
}
