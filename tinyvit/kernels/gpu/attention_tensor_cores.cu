// Multi-head attention in bfloat16 on tensor cores, forward and backward, without ever keeping an N x N matrix.
//
// In all three kernels a warp owns 16 rows (of queries, or of keys) of one head. It keeps them in registers as left
// operands, together with the sums that it is after, and goes over all the others in tiles, which the warps of a block
// share. Nothing is added up by two blocks, so the same numbers come out of every run.
#include "attention_tiles.cuh"

// Forward. The softmax goes along: each row keeps the largest score so far and the sum of exp(score - largest), and
// where a larger one comes, all that was summed up before shrinks by exp(largest before - largest now).
extern "C" __global__ void __launch_bounds__(32 * MOST_WARPS, OCCUPANCY)
attention_forward(const __nv_bfloat16 *qkv, __nv_bfloat16 *out, float *logsumexp, int tokens, int asking, int heads,
                  int blocks, float scale) {
    __shared__ __align__(128) __nv_bfloat16 tiles[2 * TILE * STRIDE];
    __shared__ __align__(128) float scratches[MOST_WARPS * SCRATCH];
    float *scratch = scratches + threadIdx.x / 32 * SCRATCH;
    const Cells cells(scratch);
    const Head head(heads, blocks);
    __nv_bfloat16 *keys = tiles, *values = tiles + TILE * STRIDE, *own = tiles + threadIdx.x / 32 * 16 * STRIDE;
    int first = head.first + threadIdx.x / 32 * 16, stride = 3 * head.width;
    const __nv_bfloat16 *from = qkv + head.offset(tokens, 3, 0);
    copy_in(tiles, from + (long long)head.first * stride, stride, blockDim.x / 2, asking - head.first);
    finish_copies();
    __syncthreads();
    Left query[PARTS];
    load_lefts(query, own);
    Sums result[PARTS], exponentials;
    clear(result);
    wmma::fill_fragment(exponentials, 0.0f);
    float most[Cells::rows];
#pragma unroll
    for (int r = 0; r < Cells::rows; r++) most[r] = minus_infinity();
    const float base_2 = scale * LOG2_E;  // exp(scale s) = 2^(base_2 s), which is what the hardware computes
    for (int start = 0; start < tokens; start += TILE) {
        int there = min(TILE, tokens - start);
        __syncthreads();
        copy_in(keys, from + head.width + (long long)start * stride, stride, TILE, there);
        copy_in(values, from + 2 * head.width + (long long)start * stride, stride, TILE, there);
        finish_copies();
        __syncthreads();
        if (first >= asking) continue;  // the whole warp
        Sums scores[GROUPS];
        float now[Cells::rows], shift[Cells::rows], shrink[Cells::rows];
#pragma unroll
        for (int r = 0; r < Cells::rows; r++) now[r] = most[r];
#pragma unroll
        for (int group = 0; group < GROUPS; group++) {
            if (16 * group >= there) continue;
            multiply_transposed(scores[group], query, keys + 16 * group * STRIDE);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                if (16 * group + 16 > there && 16 * group + cells.column(i) >= there)
                    scores[group].x[i] = minus_infinity();
                now[cells.row_of(i)] = fmaxf(now[cells.row_of(i)], scores[group].x[i]);
            }
        }
        cells.row_maxima(now, scratch);
#pragma unroll
        for (int r = 0; r < Cells::rows; r++) {
            shrink[r] = exp2f((most[r] - now[r]) * base_2);
            most[r] = now[r], shift[r] = now[r] * base_2;
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            exponentials.x[i] *= shrink[cells.row_of(i)];
#pragma unroll
            for (int part = 0; part < PARTS; part++) result[part].x[i] *= shrink[cells.row_of(i)];
        }
#pragma unroll
        for (int group = 0; group < GROUPS; group++) {
            if (16 * group >= there) continue;
#pragma unroll
            for (int i = 0; i < 8; i++) {
                scores[group].x[i] = exp2f(scores[group].x[i] * base_2 - shift[cells.row_of(i)]);
                exponentials.x[i] += scores[group].x[i];
            }
            Left weights;
            cells.to_left(scores[group], weights, scratch);
            add_product(result, weights, values + 16 * group * STRIDE);
        }
    }
    __syncthreads();  // no warp reads the tiles any more
    if (first >= asking) return;
    float totals[Cells::rows];
    row_sums(cells, exponentials, totals, scratch);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        int r = cells.row_of(i), row = first + cells.row(r);
        if (cells.column(i) == 0 && row < asking)
            logsumexp[head.pair * asking + row] = most[r] * scale + logf(totals[r]);
    }
#pragma unroll
    for (int r = 0; r < Cells::rows; r++) totals[r] = 1 / totals[r];
    copy_out(cells, result, totals, own, out + head.offset(asking, 1, 0) + (long long)first * head.width, head.width,
             min(16, asking - first));
}

// Backward, with A the weights and S the scores: dA = dout v^T; dS = A (dA - delta), where delta = sum(dout out) for
// each row; dq = scale dS k; dk = scale dS^T q; dv = A^T dout. The weights are computed once more, from logsumexp: that
// is faster than to read them. Rows that only fill up a tile are zero, in dout as in q, k and v, and so add nothing.
// First the gradients of the queries, by rows, and delta; tokens that did not ask get zeros.
extern "C" __global__ void __launch_bounds__(32 * MOST_WARPS, OCCUPANCY)
attention_backward_queries(const __nv_bfloat16 *dout, const __nv_bfloat16 *qkv, const float *logsumexp,
                           const __nv_bfloat16 *out, float *deltas, __nv_bfloat16 *dqkv, int tokens, int asking,
                           int heads, int blocks, float scale) {
    __shared__ __align__(128) __nv_bfloat16 tiles[2 * TILE * STRIDE];
    __shared__ __align__(128) float scratches[MOST_WARPS * SCRATCH];
    float *scratch = scratches + threadIdx.x / 32 * SCRATCH;
    const Cells cells(scratch);
    const Head head(heads, blocks);
    __nv_bfloat16 *keys = tiles, *values = tiles + TILE * STRIDE, *own = tiles + threadIdx.x / 32 * 16 * STRIDE;
    int first = head.first + threadIdx.x / 32 * 16, stride = 3 * head.width;
    const __nv_bfloat16 *from = qkv + head.offset(tokens, 3, 0);
    Left query[PARTS], doutput[PARTS];
    copy_in(tiles, from + (long long)head.first * stride, stride, blockDim.x / 2, asking - head.first);
    finish_copies();
    __syncthreads();
    load_lefts(query, own);
    __syncthreads();
    long long offset = head.offset(asking, 1, 0);
    copy_in(tiles, dout + offset + (long long)head.first * head.width, head.width, blockDim.x / 2, asking - head.first);
    finish_copies();
    __syncthreads();
    load_lefts(doutput, own);
    float delta[Cells::rows], shift[Cells::rows];
    row_deltas(out + offset + (long long)first * head.width, head.width, own, asking - first, scratch);
#pragma unroll
    for (int r = 0; r < Cells::rows; r++) {
        int row = first + cells.row(r);
        delta[r] = scratch[cells.row(r)];
        shift[r] = row < asking ? logsumexp[head.pair * asking + row] * LOG2_E : 0;
    }
    if (threadIdx.x % 32 < 16 && first + threadIdx.x % 32 < asking)
        deltas[head.pair * asking + first + threadIdx.x % 32] = scratch[threadIdx.x % 32];
    __syncwarp();
    Sums dquery[PARTS];
    clear(dquery);
    const float base_2 = scale * LOG2_E;
    for (int start = 0; start < tokens && head.first < asking; start += TILE) {
        int there = min(TILE, tokens - start);
        __syncthreads();
        copy_in(keys, from + head.width + (long long)start * stride, stride, TILE, there);
        copy_in(values, from + 2 * head.width + (long long)start * stride, stride, TILE, there);
        finish_copies();
        __syncthreads();
        if (first >= asking) continue;  // the whole warp
#pragma unroll 1
        for (int group = 0; 16 * group < there; group++) {
            Sums scores, dweights;
            multiply_transposed(scores, query, keys + 16 * group * STRIDE);
            multiply_transposed(dweights, doutput, values + 16 * group * STRIDE);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                int r = cells.row_of(i);
                float weight = exp2f(scores.x[i] * base_2 - shift[r]);
                if (16 * group + 16 > there && 16 * group + cells.column(i) >= there) weight = 0;  // could be infinite
                scores.x[i] = weight * (dweights.x[i] - delta[r]);
            }
            Left dscores;
            cells.to_left(scores, dscores, scratch);
            add_product(dquery, dscores, keys + 16 * group * STRIDE);
        }
    }
    __syncthreads();  // no warp reads the tiles any more
    float factors[Cells::rows];
#pragma unroll
    for (int r = 0; r < Cells::rows; r++) factors[r] = scale;
    copy_out(cells, dquery, factors, own, dqkv + head.offset(tokens, 3, 0) + (long long)first * stride, stride,
             min(16, tokens - first));
}

// Then the gradients of keys and values: the rows are keys, and the scores are transposed. Two sums a row fill the
// registers, so the left operands stay in shared memory where heads are wide.
const bool WIDE = WIDTH > 64;
const int QUERIES_TILE = WIDE ? 16 : TILE;

extern "C" __global__ void __launch_bounds__(32 * MOST_WARPS, KEYS_OCCUPANCY)
attention_backward_keys(const __nv_bfloat16 *dout, const __nv_bfloat16 *qkv, const float *logsumexp,
                        const float *deltas, __nv_bfloat16 *dqkv, int tokens, int asking, int heads, int blocks,
                        float scale) {
    __shared__ __align__(128) __nv_bfloat16 keys[MOST_WARPS * 16 * STRIDE], values[MOST_WARPS * 16 * STRIDE];
    __shared__ __align__(128) __nv_bfloat16 queries[QUERIES_TILE * STRIDE], douts[QUERIES_TILE * STRIDE];
    __shared__ float2 of_queries[QUERIES_TILE];  // logsumexp, as a power of 2, and delta
    __shared__ __align__(128) float scratches[MOST_WARPS * SCRATCH];
    float *scratch = scratches + threadIdx.x / 32 * SCRATCH;
    const Cells cells(scratch);
    const Head head(heads, blocks);
    __nv_bfloat16 *own_keys = keys + threadIdx.x / 32 * 16 * STRIDE, *own_values = values + (own_keys - keys);
    int first = head.first + threadIdx.x / 32 * 16, stride = 3 * head.width;
    const __nv_bfloat16 *from = qkv + head.offset(tokens, 3, 0), *own_from = from + (long long)head.first * stride;
    copy_in(keys, own_from + head.width, stride, blockDim.x / 2, tokens - head.first);
    copy_in(values, own_from + 2 * head.width, stride, blockDim.x / 2, tokens - head.first);
    finish_copies();
    __syncthreads();
    Left key[PARTS], value[PARTS];
    if (!WIDE) load_lefts(key, own_keys), load_lefts(value, own_values);
    Sums dkey[PARTS], dvalue[PARTS];
    clear(dkey), clear(dvalue);
    dout += head.offset(asking, 1, 0);
    const float base_2 = scale * LOG2_E;
    for (int start = 0; start < asking; start += QUERIES_TILE) {
        int there = min(QUERIES_TILE, asking - start);
        __syncthreads();
        copy_in(queries, from, stride, QUERIES_TILE, there);
        copy_in(douts, dout, head.width, QUERIES_TILE, there);
        for (int i = threadIdx.x; i < QUERIES_TILE; i += blockDim.x) {
            long long row = head.pair * asking + start + i;
            of_queries[i] = i < there ? make_float2(logsumexp[row] * LOG2_E, deltas[row]) : make_float2(0, 0);
        }
        finish_copies();
        __syncthreads();
        from += (long long)QUERIES_TILE * stride, dout += (long long)QUERIES_TILE * head.width;
        if (first >= tokens) continue;  // the whole warp
        const __nv_bfloat16 *query = queries, *doutput = douts;  // the group's 16 rows
        const float2 *of_query = of_queries;
#pragma unroll 1
        for (int group = 0; 16 * group < there; group++) {
            Sums weights, dscores;
            if (WIDE) {
                multiply_transposed(weights, own_keys, query);
                multiply_transposed(dscores, own_values, doutput);
            } else {
                multiply_transposed(weights, key, query);
                multiply_transposed(dscores, value, doutput);
            }
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float2 logsumexp_and_delta = of_query[cells.column(i)];
                weights.x[i] = exp2f(weights.x[i] * base_2 - logsumexp_and_delta.x);
                dscores.x[i] = weights.x[i] * (dscores.x[i] - logsumexp_and_delta.y);
            }
            Left left;
            cells.to_left(weights, left, scratch);
            add_product(dvalue, left, doutput);
            cells.to_left(dscores, left, scratch);
            add_product(dkey, left, query);
            query += 16 * STRIDE, doutput += 16 * STRIDE, of_query += 16;
        }
    }
    if (first >= tokens) return;
    __nv_bfloat16 *to = dqkv + head.offset(tokens, 3, 1) + (long long)first * stride;
    float factors[Cells::rows];
#pragma unroll
    for (int r = 0; r < Cells::rows; r++) factors[r] = scale;
    copy_out(cells, dkey, factors, own_keys, to, stride, min(16, tokens - first));
#pragma unroll
    for (int r = 0; r < Cells::rows; r++) factors[r] = 1;
    copy_out(cells, dvalue, factors, own_values, to + head.width, stride, min(16, tokens - first));
}
