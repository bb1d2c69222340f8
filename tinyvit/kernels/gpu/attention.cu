// Multi-head self-attention without its N x N weights in memory (FlashAttention: Dao et al., 2022; Dao, 2023).
//
// A block has a tile of rows and meets the others tile by tile. Softmax needs the largest score and the sum of a whole
// row before its first weight is known. But softmax(s) v = sum_j e^(s_j - m) v_j / sum_j e^(s_j - m) holds for any m, so
// that both sums can run with the largest score so far, and shrink by e^(m - m') when that grows to m'.
//
// qkv (B, N, 3 D) is read as it lies: the query of head h of a token begins h d numbers after its row does, the key D
// numbers further on, the value another D.
#include "attention_patches.cuh"

const float log2_e = 1.4426950408889634f;

__device__ inline float minus_infinity() { return __int_as_float(0xff800000); }

// Which tile, head and image a block works on. Blocks of the same head follow each other and share its keys in the cache.
struct Work {
    int first, head; // the first token of the tile
    long long image;
};
__device__ inline Work work_of_block(int tokens, int tile, int heads) {
    int tiles = (tokens + tile - 1) / tile;
    return {(int)(blockIdx.x % tiles) * tile, (int)(blockIdx.x / tiles % heads), blockIdx.x / tiles / heads};
}

// Forward: the rows of a block are queries; keys and values pass by.
const int query_rows = 8;               // of a thread
const int query_tile = 8 * query_rows;  // of a block

// What a thread knows of its rows so far.
struct Rows {
    float sum[query_rows][columns]; // of e^(score - most) value, in the columns that it has
    float most[query_rows];         // the largest score
    float total[query_rows];        // of e^(score - most), over the keys that it has
};

// Takes in 8 C keys, of which there are `count`.
template <int C>
__device__ inline void meet_keys(Rows &rows, const float4 *queries, const float4 *keys, const float4 *values,
                                 float4 *weights, int count) {
    const float scale = rsqrtf(HEAD_WIDTH) * log2_e; // powers of two are cheaper than those of e
    float score[query_rows][C];
    products(score, queries, keys + lane_of_group() * pitch);
#pragma unroll
    for (int r = 0; r < query_rows; r++) {
        float most = rows.most[r];
#pragma unroll
        for (int c = 0; c < C; c++) {
            if (lane_of_group() + 8 * c >= count) score[r][c] = minus_infinity();
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
    __syncwarp(); // a warp reads only what it has written itself: the others need not wait
    accumulate(rows.sum, weights, values, count);
}

extern "C" __global__ void __launch_bounds__(64) attention_forward(const T *qkv, T *out, float *logsumexp, int tokens,
                                                                   int asking, int heads) {
    __shared__ float4 queries[query_tile * pitch], keys[passing_tile * pitch], values[passing_tile * pitch];
    __shared__ float4 weights[query_tile * weights_pitch];
    Work work = work_of_block(asking, query_tile, heads);
    int all_heads = heads * HEAD_WIDTH, row = first_row<query_rows>();
    const T *query = qkv + work.image * tokens * 3 * all_heads + work.head * HEAD_WIDTH;
    int own = min(query_tile, asking - work.first);
    load_tile<query_tile>(queries, query + work.first * 3LL * all_heads, 3 * all_heads, own);

    Rows rows = {};
#pragma unroll
    for (int r = 0; r < query_rows; r++) rows.most[r] = minus_infinity();
    bool idle = threadIdx.x / 32 * 4 * query_rows >= own; // the whole warp is below the last row: it only loads
    for (int first = 0; first < tokens; first += passing_tile) {
        const T *key = query + all_heads + first * 3LL * all_heads;
        int count = min(passing_tile, tokens - first);
        __syncthreads(); // all have done with the tiles before
        load_tile<passing_tile>(keys, key, 3 * all_heads, count);
        load_tile<passing_tile>(values, key + all_heads, 3 * all_heads, count);
        __syncthreads();
        if (idle) continue;
        // Patches form a square and the class token makes one more: the last tile is often nearly empty.
        const float4 *own_queries = queries + row * pitch;
        float4 *own_weights = weights + row * weights_pitch;
        if (count > 8) meet_keys<passing_tile / 8>(rows, own_queries, keys, values, own_weights, count);
        else meet_keys<1>(rows, own_queries, keys, values, own_weights, count);
    }
    if (idle) return;
#pragma unroll
    for (int r = 0; r < query_rows; r++) {
        float total = group_sum(rows.total[r]);
        int token = work.first + row + 4 * r;
        if (token >= asking) continue;
        store_row(out + (work.image * asking + token) * all_heads + work.head * HEAD_WIDTH, rows.sum[r], 1 / total);
        if (lane_of_group() == 0)
            logsumexp[(work.image * heads + work.head) * asking + token] =
                rows.most[r] * rsqrtf(HEAD_WIDTH) + logf(total);
    }
}

// Backward, with P the weights, computed anew from the scores and logsumexp, and delta = rowsum(dout out):
// dv = P^T dout, dS = P (dout v^T - delta), dq = dS k scale, dk = dS^T q scale. One kernel has rows of queries, for dq,
// another rows of keys, for dk and dv, and both compute P and dS. That is more work than to do so once and add dq up
// between blocks, but nobody waits for another, and every sum has one order: results are deterministic.
const int gradient_rows = 4;                 // of a thread: half as many, since there is twice as much to keep
const int gradient_tile = 8 * gradient_rows; // of a block

// delta (B, H, M): 8 lanes for each row of d numbers, which lie one after the other in dout and out (B, M, H d).
extern "C" __global__ void attention_backward_delta(const T *dout, const T *out, float *delta, long long rows,
                                                    int asking, int heads) {
    long long row = (long long)blockIdx.x * (blockDim.x / 8) + threadIdx.x / 8;
    float sum = 0;
    for (int c = lane_of_group() * VECTOR; c < HEAD_WIDTH && row < rows; c += 8 * VECTOR) {
        float a[VECTOR], b[VECTOR];
        load_vector(dout + row * HEAD_WIDTH + c, a);
        load_vector(out + row * HEAD_WIDTH + c, b);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) sum += a[i] * b[i];
    }
    sum = group_sum(sum);
    if (lane_of_group() || row >= rows) return;
    long long head = row % heads, token = row / heads % asking, image = row / heads / asking;
    delta[(image * heads + head) * asking + token] = sum;
}

// dq of gradient_tile queries, for all N tokens: zero for those that did not ask.
template <int C>
__device__ inline void meet_keys(float (&dquery)[gradient_rows][columns], const float4 *queries, const float4 *douts,
                                 const float4 *keys, const float4 *values, float4 *weights, const float *logsumexp,
                                 const float *delta, int count) {
    const float scale = rsqrtf(HEAD_WIDTH);
    float score[gradient_rows][C], dweight[gradient_rows][C];
    products(score, queries, keys + lane_of_group() * pitch);
    products(dweight, douts, values + lane_of_group() * pitch);
#pragma unroll
    for (int r = 0; r < gradient_rows; r++)
#pragma unroll
        for (int c = 0; c < C; c++) {
            float weight = exp2f((score[r][c] * scale - logsumexp[r]) * log2_e);
            // Below the last key lie zeros, whose weight need not be a number that zero can be multiplied by.
            score[r][c] = lane_of_group() + 8 * c < count ? weight * (dweight[r][c] - delta[r]) : 0;
        }
    put_weights(weights, score);
    __syncwarp();
    accumulate(dquery, weights, keys, count);
}

extern "C" __global__ void __launch_bounds__(64)
    attention_backward_queries(const T *dout, const T *qkv, const float *logsumexp, const float *delta, T *dqkv,
                               int tokens, int asking, int heads) {
    __shared__ float4 queries[gradient_tile * pitch], douts[gradient_tile * pitch];
    __shared__ float4 keys[passing_tile * pitch], values[passing_tile * pitch];
    __shared__ float4 weights[gradient_tile * weights_pitch];
    Work work = work_of_block(tokens, gradient_tile, heads);
    int all_heads = heads * HEAD_WIDTH, row = first_row<gradient_rows>();
    long long start = work.image * tokens * 3 * all_heads + work.head * HEAD_WIDTH;
    long long statistic = (work.image * heads + work.head) * asking;
    int own = min(gradient_tile, asking - work.first);
    load_tile<gradient_tile>(queries, qkv + start + work.first * 3LL * all_heads, 3 * all_heads, own);
    load_tile<gradient_tile>(douts, dout + (work.image * asking + work.first) * all_heads + work.head * HEAD_WIDTH,
                             all_heads, own);
    float dquery[gradient_rows][columns] = {}, of_row[gradient_rows] = {}, delta_of_row[gradient_rows] = {};
#pragma unroll
    for (int r = 0; r < gradient_rows; r++) {
        if (row + 4 * r >= own) continue;
        of_row[r] = logsumexp[statistic + work.first + row + 4 * r];
        delta_of_row[r] = delta[statistic + work.first + row + 4 * r];
    }
    bool idle = threadIdx.x / 32 * 4 * gradient_rows >= own;
    for (int first = 0; first < tokens && own > 0; first += passing_tile) {
        const T *key = qkv + start + all_heads + first * 3LL * all_heads;
        int count = min(passing_tile, tokens - first);
        __syncthreads();
        load_tile<passing_tile>(keys, key, 3 * all_heads, count);
        load_tile<passing_tile>(values, key + all_heads, 3 * all_heads, count);
        __syncthreads();
        if (idle) continue;
        const float4 *own_queries = queries + row * pitch, *own_douts = douts + row * pitch;
        float4 *own_weights = weights + row * weights_pitch;
        if (count > 8)
            meet_keys<passing_tile / 8>(dquery, own_queries, own_douts, keys, values, own_weights, of_row,
                                        delta_of_row, count);
        else
            meet_keys<1>(dquery, own_queries, own_douts, keys, values, own_weights, of_row, delta_of_row, count);
    }
#pragma unroll
    for (int r = 0; r < gradient_rows; r++) {
        int token = work.first + row + 4 * r;
        if (token >= tokens) continue;
        if (token >= asking)
#pragma unroll
            for (int c = 0; c < columns; c++) dquery[r][c] = 0;
        store_row(dqkv + start + token * 3LL * all_heads, dquery[r], rsqrtf(HEAD_WIDTH));
    }
}

// dk and dv of gradient_tile keys; 8 C queries pass by, with their logsumexp and delta.
template <int C>
__device__ inline void meet_queries(float (&dkey)[gradient_rows][columns], float (&dvalue)[gradient_rows][columns],
                                    const float4 *keys, const float4 *values, const float4 *queries,
                                    const float4 *douts, float4 *weights, const float *logsumexp, const float *delta,
                                    int count) {
    const float scale = rsqrtf(HEAD_WIDTH);
    float score[gradient_rows][C], dweight[gradient_rows][C];
    products(score, keys, queries + lane_of_group() * pitch);
    products(dweight, values, douts + lane_of_group() * pitch);
#pragma unroll
    for (int c = 0; c < C; c++) {
        float of_column = logsumexp[lane_of_group() + 8 * c], delta_of_column = delta[lane_of_group() + 8 * c];
#pragma unroll
        for (int r = 0; r < gradient_rows; r++) {
            score[r][c] = exp2f((score[r][c] * scale - of_column) * log2_e);
            dweight[r][c] = score[r][c] * (dweight[r][c] - delta_of_column);
        }
    }
    put_weights(weights, score);
    __syncwarp();
    accumulate(dvalue, weights, douts, count);
    __syncwarp(); // all lanes have read the weights: dS takes their place
    put_weights(weights, dweight);
    __syncwarp();
    accumulate(dkey, weights, queries, count);
}

extern "C" __global__ void __launch_bounds__(64)
    attention_backward_keys(const T *dout, const T *qkv, const float *logsumexp, const float *delta, T *dqkv,
                            int tokens, int asking, int heads) {
    __shared__ float4 keys[gradient_tile * pitch], values[gradient_tile * pitch];
    __shared__ float4 queries[passing_tile * pitch], douts[passing_tile * pitch];
    __shared__ float4 weights[gradient_tile * weights_pitch];
    __shared__ float of_query[passing_tile], delta_of_query[passing_tile];
    Work work = work_of_block(tokens, gradient_tile, heads);
    int all_heads = heads * HEAD_WIDTH, row = first_row<gradient_rows>();
    long long start = work.image * tokens * 3 * all_heads + work.head * HEAD_WIDTH;
    long long statistic = (work.image * heads + work.head) * asking;
    int own = min(gradient_tile, tokens - work.first);
    const T *key = qkv + start + all_heads + work.first * 3LL * all_heads;
    load_tile<gradient_tile>(keys, key, 3 * all_heads, own);
    load_tile<gradient_tile>(values, key + all_heads, 3 * all_heads, own);
    float dkey[gradient_rows][columns] = {}, dvalue[gradient_rows][columns] = {};
    bool idle = threadIdx.x / 32 * 4 * gradient_rows >= own;
    for (int first = 0; first < asking; first += passing_tile) {
        int count = min(passing_tile, asking - first);
        __syncthreads();
        load_tile<passing_tile>(queries, qkv + start + first * 3LL * all_heads, 3 * all_heads, count);
        load_tile<passing_tile>(douts, dout + (work.image * asking + first) * all_heads + work.head * HEAD_WIDTH,
                                all_heads, count);
        if (threadIdx.x < passing_tile) {
            // e^(score - infinity) is zero: so much does a row below the last query weigh.
            bool there = threadIdx.x < count;
            of_query[threadIdx.x] = there ? logsumexp[statistic + first + threadIdx.x] : -minus_infinity();
            delta_of_query[threadIdx.x] = there ? delta[statistic + first + threadIdx.x] : 0;
        }
        __syncthreads();
        if (idle) continue;
        const float4 *own_keys = keys + row * pitch, *own_values = values + row * pitch;
        float4 *own_weights = weights + row * weights_pitch;
        if (count > 8)
            meet_queries<passing_tile / 8>(dkey, dvalue, own_keys, own_values, queries, douts, own_weights, of_query,
                                           delta_of_query, count);
        else
            meet_queries<1>(dkey, dvalue, own_keys, own_values, queries, douts, own_weights, of_query,
                            delta_of_query, count);
    }
#pragma unroll
    for (int r = 0; r < gradient_rows; r++) {
        int token = work.first + row + 4 * r;
        if (token >= tokens) continue;
        T *to = dqkv + start + all_heads + token * 3LL * all_heads;
        store_row(to, dkey[r], rsqrtf(HEAD_WIDTH));
        store_row(to + all_heads, dvalue[r], 1);
    }
}

// The weights alone (B, H, N, N), for pictures: with logsumexp of each row they need no sum.
extern "C" __global__ void __launch_bounds__(64) attention_weights(const T *qkv, const float *logsumexp, T *weights,
                                                                   int tokens, int heads) {
    __shared__ float4 queries[gradient_tile * pitch], keys[gradient_tile * pitch];
    Work work = work_of_block(tokens, gradient_tile, heads);
    int all_heads = heads * HEAD_WIDTH, row = first_row<gradient_rows>();
    const T *query = qkv + work.image * tokens * 3 * all_heads + work.head * HEAD_WIDTH;
    long long of_head = (work.image * heads + work.head) * tokens;
    load_tile<gradient_tile>(queries, query + work.first * 3LL * all_heads, 3 * all_heads, tokens - work.first);
    for (int first = 0; first < tokens; first += gradient_tile) {
        __syncthreads();
        load_tile<gradient_tile>(keys, query + all_heads + first * 3LL * all_heads, 3 * all_heads, tokens - first);
        __syncthreads();
        float score[gradient_rows][gradient_tile / 8];
        products(score, queries + row * pitch, keys + lane_of_group() * pitch);
#pragma unroll
        for (int r = 0; r < gradient_rows; r++)
#pragma unroll
            for (int c = 0; c < gradient_tile / 8; c++) {
                int from = work.first + row + 4 * r, to = first + lane_of_group() + 8 * c;
                if (from >= tokens || to >= tokens) continue;
                float exponent = score[r][c] * rsqrtf(HEAD_WIDTH) - logsumexp[of_head + from];
                store(weights + (of_head + from) * tokens + to, exp2f(exponent * log2_e));
            }
    }
}
