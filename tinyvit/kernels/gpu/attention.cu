// Multi-head self-attention without its N x N weights in memory (FlashAttention: Dao et al., 2022; Dao, 2023).
//
// A block has a tile of queries; keys and values pass by tile by tile. Softmax needs the largest score m of a row and
// the sum of the whole row before its first weight is known. But
//     softmax(s) v = sum_j e^(s_j - m) v_j / sum_j e^(s_j - m)
// holds for any m. So both sums run with the largest score so far, and shrink by e^(m - m') where that grows to m'.
#include "attention_patches.cuh"

const int query_rows = 8;              // of a thread
const int query_tile = 8 * query_rows; // of a block

// What a thread knows of its rows so far.
struct Rows {
    float sum[query_rows][columns]; // of e^(score - most) value, in the columns that it has
    float most[query_rows];         // the largest score
    float total[query_rows];        // of e^(score - most), over the keys that it has
};

// Takes in the first `count` of 8 C keys and values, for the thread's queries.
template <int C>
__device__ inline void meet_keys(Rows &rows, const float4 *queries, const float4 *keys, const float4 *values,
                                 float4 *weights, int count) {
    const float scale = rsqrtf(HEAD_WIDTH) * log2_e; // powers of two are cheaper than those of e
    float score[query_rows][C];
    products(score, queries, keys);
#pragma unroll
    for (int r = 0; r < query_rows; r++) {
        float most = rows.most[r];
#pragma unroll
        for (int c = 0; c < C; c++) {
            if (lane_of_group() + 8 * c >= count) score[r][c] = -infinity();
            most = fmaxf(most, score[r][c]);
        }
        most = group_max(most);
        float shrink = exp2f((rows.most[r] - most) * scale);
        rows.most[r] = most;
        rows.total[r] *= shrink;
#pragma unroll
        for (int c = 0; c < columns; c++) rows.sum[r][c] *= shrink;
#pragma unroll
        for (int c = 0; c < C; c++) {
            score[r][c] = exp2f((score[r][c] - most) * scale);
            rows.total[r] += score[r][c];
        }
    }
    put_weights(weights, score);
    __syncwarp(); // a warp reads only weights of its own: the other one need not wait
    accumulate(rows.sum, weights, values, count);
}

// qkv (B, N, 3 D) -> out (B, M, D) and logsumexp (B, H, M), the log of the sum of e^score over a row of scores.
extern "C" __global__ void __launch_bounds__(64) attention_forward(const T *qkv, T *out, float *logsumexp, int tokens,
                                                                   int asking, int heads) {
    __shared__ float4 queries[query_tile * pitch], keys[passing_tile * pitch], values[passing_tile * pitch];
    __shared__ float4 weights[query_tile * weights_pitch];
    Head head(asking, query_tile, tokens, asking, heads);
    int own = min(query_tile, asking - head.first), row = first_row<query_rows>();
    load_tile<query_tile>(queries, qkv + head.query(head.first), 3 * head.width, own);

    Rows rows = {};
#pragma unroll
    for (int r = 0; r < query_rows; r++) rows.most[r] = -infinity();
    bool idle = first_row_of_warp<query_rows>() >= own; // no row for this warp: it only helps to load
    for (int first = 0; first < tokens; first += passing_tile) {
        int count = min(passing_tile, tokens - first);
        __syncthreads(); // all have done with the tiles before
        load_tile<passing_tile>(keys, qkv + head.key(first), 3 * head.width, count);
        load_tile<passing_tile>(values, qkv + head.value(first), 3 * head.width, count);
        __syncthreads();
        if (idle) continue;
        const float4 *own_queries = queries + row * pitch, *own_keys = keys + lane_of_group() * pitch;
        float4 *own_weights = weights + row * weights_pitch;
        // Patches form a square and the class token makes one more: the last tile is often nearly empty.
        if (count > 8) meet_keys<passing_tile / 8>(rows, own_queries, own_keys, values, own_weights, count);
        else meet_keys<1>(rows, own_queries, own_keys, values, own_weights, count);
    }
    if (idle) return;
#pragma unroll
    for (int r = 0; r < query_rows; r++) {
        float total = group_sum(rows.total[r]);
        int token = head.first + row + 4 * r;
        if (token >= asking) continue;
        store_row(out + head.output(token), rows.sum[r], 1 / total);
        if (lane_of_group() == 0)
            logsumexp[head.statistic + token] = rows.most[r] * rsqrtf(HEAD_WIDTH) + logf(total);
    }
}
