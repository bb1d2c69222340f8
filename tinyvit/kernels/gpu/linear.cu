// The bias of a linear layer; its matrix products are cuBLAS's.
#include "columns.cuh"

// y += bias, in place. Bytes moved for each number, in float32 and bfloat16: 8 and 4, a read and a write. The bias
// itself is read once by each thread, which keeps its columns'.
extern "C" __global__ void add_bias(T *y, const T *bias, int rows, int width, int rows_a_block) {
    int column = first_column();
    if (column >= width) return;
    float added[VECTOR];
#pragma unroll
    for (int i = 0; i < VECTOR; i++) added[i] = load(bias + column + i);
#pragma unroll 4
    for (long long row = first_row(rows_a_block) + threadIdx.y; row < last_row(rows_a_block, rows); row += WARPS) {
        float values[VECTOR];
        load_vector(y + row * width + column, values);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) values[i] += added[i];
        store_vector(y + row * width + column, values);
    }
}
