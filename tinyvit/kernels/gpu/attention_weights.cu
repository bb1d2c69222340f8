// The attention weights themselves, N x N of them for each head: for pictures, never for training.
#include "attention_patches.cuh"

const int picture_rows = 4; // of a thread
const int picture_tile = 8 * picture_rows;

// qkv (B, N, 3 D) and forward's logsumexp (B, H, N) -> weights (B, H, N, N): with logsumexp of a row, no sum is needed.
extern "C" __global__ void __launch_bounds__(64) attention_weights(const T *qkv, const float *logsumexp, T *weights,
                                                                   int tokens, int heads) {
    __shared__ float4 queries[picture_tile * pitch], keys[picture_tile * pitch];
    Head head(tokens, picture_tile, tokens, tokens, heads);
    int row = first_row<picture_rows>();
    load_tile<picture_tile>(queries, qkv + head.query(head.first), 3 * head.width, tokens - head.first);
    for (int first = 0; first < tokens; first += picture_tile) {
        __syncthreads();
        load_tile<picture_tile>(keys, qkv + head.key(first), 3 * head.width, tokens - first);
        __syncthreads();
        float score[picture_rows][picture_tile / 8];
        products(score, queries + row * pitch, keys + lane_of_group() * pitch);
#pragma unroll
        for (int r = 0; r < picture_rows; r++)
#pragma unroll
            for (int c = 0; c < picture_tile / 8; c++) {
                int from = head.first + row + 4 * r, to = first + lane_of_group() + 8 * c;
                if (from >= tokens || to >= tokens) continue;
                float exponent = score[r][c] * rsqrtf(HEAD_WIDTH) - logsumexp[head.statistic + from];
                store(weights + (head.statistic + from) * tokens + to, exp2f(exponent * log2_e));
            }
    }
}
