// Backward of attention, in the manner of attention.cu: again without N x N numbers in memory.
//
// With P the weights, computed anew from the scores S and logsumexp, and delta = rowsum(dout out):
// dv = P^T dout, dS = P (dout v^T - delta), dq = dS k scale, dk = dS^T q scale, where scale is that of the scores.
// In one kernel the rows of a block are queries, and it sums their dq while keys and values pass by; in another they
// are keys, for dk and dv, while queries pass by. Both compute P and dS. That is more work than to do so once and have
// blocks add to dq together, but nobody waits for another, and each sum has one order: results are deterministic.
#include "attention_patches.cuh"

const int rows = 4;        // of a thread: half of forward's, since there is twice as much to keep for each
const int tile = 8 * rows; // of a block

// delta (B, H, M): 8 lanes for each row of d numbers, which lie one after the other in dout and out (B, M, H d).
extern "C" __global__ void attention_backward_delta(const T *dout, const T *out, float *delta, long long count,
                                                    int asking, int heads) {
    long long row = (long long)blockIdx.x * (blockDim.x / 8) + threadIdx.x / 8;
    float sum = 0;
    for (int c = lane_of_group() * VECTOR; c < HEAD_WIDTH && row < count; c += 8 * VECTOR) {
        float a[VECTOR], b[VECTOR];
        load_vector(dout + row * HEAD_WIDTH + c, a);
        load_vector(out + row * HEAD_WIDTH + c, b);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) sum += a[i] * b[i];
    }
    sum = group_sum(sum);
    if (lane_of_group() || row >= count) return;
    long long head = row % heads, token = row / heads % asking, image = row / heads / asking;
    delta[(image * heads + head) * asking + token] = sum;
}

// What a thread knows of its queries, and their gradient so far.
struct Queries {
    float gradient[rows][columns], logsumexp[rows], delta[rows];
};

// Takes in the first `count` of 8 C keys and values, for the thread's queries and their dout.
template <int C>
__device__ inline void meet_keys(Queries &own, const float4 *queries, const float4 *douts, const float4 *keys,
                                 const float4 *values, float4 *weights, int count) {
    int lane = lane_of_group();
    float score[rows][C], dweight[rows][C], dscore[rows][C];
    products(score, queries, keys + lane * pitch);
    products(dweight, douts, values + lane * pitch);
#pragma unroll
    for (int r = 0; r < rows; r++)
#pragma unroll
        for (int c = 0; c < C; c++) {
            float weight = exp2f((score[r][c] * rsqrtf(HEAD_WIDTH) - own.logsumexp[r]) * log2_e);
            // Where there is no key the weight can be infinite, and infinity times the zeros there is no number.
            dscore[r][c] = lane + 8 * c < count ? weight * (dweight[r][c] - own.delta[r]) : 0;
        }
    put_weights(weights, dscore);
    __syncwarp();
    accumulate(own.gradient, weights, keys, count);
}

// dq of all N tokens. For those that did not ask the tile of dout has zeros, and so dq is zero.
extern "C" __global__ void __launch_bounds__(64)
    attention_backward_queries(const T *dout, const T *qkv, const float *logsumexp, const float *delta, T *dqkv,
                               int tokens, int asking, int heads) {
    __shared__ float4 queries[tile * pitch], douts[tile * pitch];
    __shared__ float4 keys[passing_tile * pitch], values[passing_tile * pitch], weights[tile * weights_pitch];
    Head head(tokens, tile, tokens, asking, heads);
    int count_own = min(tile, asking - head.first), row = first_row<rows>();
    load_tile<tile>(queries, qkv + head.query(head.first), 3 * head.width, count_own);
    load_tile<tile>(douts, dout + head.output(head.first), head.width, count_own);
    Queries own = {};
#pragma unroll
    for (int r = 0; r < rows; r++)
        if (row + 4 * r < count_own) {
            own.logsumexp[r] = logsumexp[head.statistic + head.first + row + 4 * r];
            own.delta[r] = delta[head.statistic + head.first + row + 4 * r];
        }
    bool idle = first_row_of_warp<rows>() >= count_own;
    for (int first = 0; first < tokens && count_own > 0; first += passing_tile) {
        int count = min(passing_tile, tokens - first);
        __syncthreads();
        load_tile<passing_tile>(keys, qkv + head.key(first), 3 * head.width, count);
        load_tile<passing_tile>(values, qkv + head.value(first), 3 * head.width, count);
        __syncthreads();
        if (idle) continue;
        const float4 *own_queries = queries + row * pitch, *own_douts = douts + row * pitch;
        float4 *own_weights = weights + row * weights_pitch;
        if (count > 8) meet_keys<passing_tile / 8>(own, own_queries, own_douts, keys, values, own_weights, count);
        else meet_keys<1>(own, own_queries, own_douts, keys, values, own_weights, count);
    }
#pragma unroll
    for (int r = 0; r < rows; r++) {
        int token = head.first + row + 4 * r;
        if (token < tokens) store_row(dqkv + head.query(token), own.gradient[r], rsqrtf(HEAD_WIDTH));
    }
}

// The gradients of a thread's keys and values so far.
struct KeysAndValues {
    float dkey[rows][columns], dvalue[rows][columns];
};

// Takes in the first `count` of 8 C queries and their dout, logsumexp and delta, for the thread's keys and values.
template <int C>
__device__ inline void meet_queries(KeysAndValues &own, const float4 *keys, const float4 *values,
                                    const float4 *queries, const float4 *douts, const float *logsumexp,
                                    const float *delta, float4 *weights, int count) {
    int lane = lane_of_group();
    float weight[rows][C], dscore[rows][C];
    products(weight, keys, queries + lane * pitch);
    products(dscore, values, douts + lane * pitch);
#pragma unroll
    for (int c = 0; c < C; c++)
#pragma unroll
        for (int r = 0; r < rows; r++) {
            weight[r][c] = exp2f((weight[r][c] * rsqrtf(HEAD_WIDTH) - logsumexp[lane + 8 * c]) * log2_e);
            dscore[r][c] = weight[r][c] * (dscore[r][c] - delta[lane + 8 * c]);
        }
    put_weights(weights, weight);
    __syncwarp();
    accumulate(own.dvalue, weights, douts, count);
    __syncwarp(); // all lanes have read the weights: dS takes their place
    put_weights(weights, dscore);
    __syncwarp();
    accumulate(own.dkey, weights, queries, count);
}

// dk and dv of all N tokens.
extern "C" __global__ void __launch_bounds__(64)
    attention_backward_keys(const T *dout, const T *qkv, const float *logsumexp, const float *delta, T *dqkv,
                            int tokens, int asking, int heads) {
    __shared__ float4 keys[tile * pitch], values[tile * pitch];
    __shared__ float4 queries[passing_tile * pitch], douts[passing_tile * pitch], weights[tile * weights_pitch];
    __shared__ float of_query[passing_tile], delta_of_query[passing_tile];
    Head head(tokens, tile, tokens, asking, heads);
    int count_own = min(tile, tokens - head.first), row = first_row<rows>();
    load_tile<tile>(keys, qkv + head.key(head.first), 3 * head.width, count_own);
    load_tile<tile>(values, qkv + head.value(head.first), 3 * head.width, count_own);
    KeysAndValues own = {};
    bool idle = first_row_of_warp<rows>() >= count_own;
    for (int first = 0; first < asking; first += passing_tile) {
        int count = min(passing_tile, asking - first);
        __syncthreads();
        load_tile<passing_tile>(queries, qkv + head.query(first), 3 * head.width, count);
        load_tile<passing_tile>(douts, dout + head.output(first), head.width, count);
        if (threadIdx.x < passing_tile) {
            bool there = threadIdx.x < count;
            of_query[threadIdx.x] = there ? logsumexp[head.statistic + first + threadIdx.x] : 0;
            delta_of_query[threadIdx.x] = there ? delta[head.statistic + first + threadIdx.x] : 0;
        }
        __syncthreads();
        if (idle) continue;
        const float4 *own_keys = keys + row * pitch, *own_values = values + row * pitch;
        float4 *own_weights = weights + row * weights_pitch;
        if (count > 8)
            meet_queries<passing_tile / 8>(own, own_keys, own_values, queries, douts, of_query, delta_of_query,
                                           own_weights, count);
        else
            meet_queries<1>(own, own_keys, own_values, queries, douts, of_query, delta_of_query, own_weights, count);
    }
#pragma unroll
    for (int r = 0; r < rows; r++) {
        int token = head.first + row + 4 * r;
        if (token >= tokens) continue;
        store_row(dqkv + head.key(token), own.dkey[r], rsqrtf(HEAD_WIDTH));
        store_row(dqkv + head.value(token), own.dvalue[r], 1);
    }
}
