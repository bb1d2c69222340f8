// Bias and GELU of the MLP's hidden layer, between the two matrix products that cuBLAS does.
#include "columns.cuh"
#include "gelu.cuh"

// hidden = gelu(hidden + bias), in place; with -DFOR_BACKWARD also the slope of gelu there. Bytes moved for each
// number, in float32 and bfloat16: 8 and 4, with the derivative 12 and 6. Three kernels, one for the bias, one for gelu
// and one for the slope, would move 24 and 12.
extern "C" __global__ void bias_gelu_forward(T *hidden, T *derivative, const T *bias, int rows, int width,
                                             int rows_a_block) {
    int column = first_column();
    if (column >= width) return;
    float added[VECTOR];
#pragma unroll
    for (int i = 0; i < VECTOR; i++) added[i] = load(bias + column + i);
#pragma unroll 2
    for (long long row = first_row(rows_a_block) + threadIdx.y; row < last_row(rows_a_block, rows); row += WARPS) {
        float values[VECTOR], slopes[VECTOR];
        load_vector(hidden + row * width + column, values);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) values[i] = gelu(values[i] + added[i], slopes + i);
        store_vector(hidden + row * width + column, values);
#ifdef FOR_BACKWARD
        store_vector(derivative + row * width + column, slopes);
#endif
    }
}

// dhidden *= derivative, in place, and each block's partial sums of the result over its rows, for the gradient of the
// bias: sums.cu adds them up. Bytes moved for each number: 12 and 6. The sums cost no read of their own.
extern "C" __global__ void bias_gelu_backward(T *dhidden, const T *derivative, float *partials, int rows, int width,
                                              int rows_a_block) {
    __shared__ float shared[WARPS * VECTOR * 33];
    float sums[VECTOR] = {};
    int column = first_column();
    if (column < width) {
#pragma unroll 2
        for (long long row = first_row(rows_a_block) + threadIdx.y; row < last_row(rows_a_block, rows); row += WARPS) {
            float values[VECTOR], slopes[VECTOR];
            load_vector(dhidden + row * width + column, values);
            load_vector(derivative + row * width + column, slopes);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) values[i] *= slopes[i], sums[i] += values[i];
            store_vector(dhidden + row * width + column, values);
        }
    }
    write_partial_sums(sums, shared, partials, width);
}
