// Multi-head attention in bfloat16 on tensor cores, forward and backward, without ever keeping an N x N matrix.
//
// In all three kernels a warp owns 16 rows (of queries, or of keys) for one head. It keeps them in registers as left
// operands, together with the sums that it is after, and goes over all the others in tiles of 64, which the warps of a
// block share. HEAD_WIDTH is D/H, at most 128; inside it is padded with zeros to WIDTH, a multiple of 16.
#include "tensor_cores.cuh"

#ifndef HEAD_WIDTH
#define HEAD_WIDTH 64
#endif

const int WIDTH = (HEAD_WIDTH + 15) / 16 * 16;
const int PARTS = WIDTH / 16;  // tiles side by side in a row
const int STRIDE = WIDTH + 8;  // from row to row in shared memory: 16 bytes more, so that 8 rows lie in all 32 banks
const int TILE = 64;           // rows of a shared tile
const int GROUPS = TILE / 16;
const int MOST_WARPS = 7;      // in a block: 2 blocks have the 13 x 16 rows of 197 tokens

// How many blocks a multiprocessor should have room for: it sets how many registers a thread may use. Wide heads need more.
#ifdef ANYWHERE
const int OCCUPANCY = 1;
#else
const int OCCUPANCY = WIDTH > 64 ? 1 : 2;
#endif

const float LOG2_E = 1.4426950408889634f;

__device__ inline float minus_infinity() { return __int_as_float(0xff800000); }

// Which rows of which head a block works on: blocks of one head are neighbours, so that they share its rows in cache.
struct Head {
    int batch, head, width;  // width: D, of all heads together
    int first;               // the block's first row
    long long pair;          // of all heads of all examples

    __device__ Head(int heads, int blocks) {
        pair = blockIdx.x / blocks;
        batch = pair / heads, head = pair % heads, width = heads * HEAD_WIDTH;
        first = blockIdx.x % blocks * (blockDim.x / 2);
    }
    // Its numbers in the first of `tokens` rows, of a matrix with `wide` times the width D; `part`: 0, 1, 2 for q, k, v.
    __device__ long long offset(int tokens, int wide, int part) const {
        return (long long)batch * tokens * wide * width + part * width + head * HEAD_WIDTH;
    }
};

// Copies `rows` rows to shared memory: zeros below the `there` rows that there are, and right of HEAD_WIDTH.
// All threads of the block take part; neighbouring threads read neighbouring 16 bytes.
__device__ void copy_in(__nv_bfloat16 *tile, const __nv_bfloat16 *from, int stride, int rows, int there) {
#pragma unroll 1
    for (int i = threadIdx.x; i < rows * (WIDTH / VECTOR); i += blockDim.x) {
        int row = i / (WIDTH / VECTOR), column = i % (WIDTH / VECTOR) * VECTOR;
        Vector vector = {};
        if (row < there && column < HEAD_WIDTH) vector = *(const Vector *)(from + (long long)row * stride + column);
        *(Vector *)(tile + row * STRIDE + column) = vector;
    }
}

// Writes a warp's 16 rows, `there` of which there are, times a factor for each. They pass through its 16 rows of shared
// memory: from there each row leaves in whole 16 bytes.
__device__ void copy_out(const Cells &cells, const Sums *sums, const float *factors, __nv_bfloat16 *rows,
                         __nv_bfloat16 *to, int stride, int there) {
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int r = cells.row_of(i);
            rows[cells.row(r) * STRIDE + 16 * part + cells.column(i)] =
                __float2bfloat16(sums[part].x[i] * factors[r]);
        }
    __syncwarp();
    for (int i = threadIdx.x % 32; i < there * (HEAD_WIDTH / VECTOR); i += 32) {
        int row = i / (HEAD_WIDTH / VECTOR), column = i % (HEAD_WIDTH / VECTOR) * VECTOR;
        *(Vector *)(to + (long long)row * stride + column) = *(const Vector *)(rows + row * STRIDE + column);
    }
    __syncwarp();
}

__device__ inline void load_lefts(Left *lefts, const __nv_bfloat16 *rows) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) Cells::load(lefts[part], rows + 16 * part, STRIDE);
}

__device__ inline void clear(Sums *sums) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) wmma::fill_fragment(sums[part], 0.0f);
}

// sums = lefts rows^T: 16 x WIDTH times WIDTH x 16.
__device__ inline void multiply_transposed(Sums &sums, const Left *lefts, const __nv_bfloat16 *rows) {
    wmma::fill_fragment(sums, 0.0f);
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        RightTransposed right;
        Cells::load(right, rows + 16 * part, STRIDE);
        wmma::mma_sync(sums, lefts[part], right, sums);
    }
}

// sums += left rows: 16 x 16 times 16 x WIDTH.
__device__ inline void add_product(Sums *sums, const Left &left, const __nv_bfloat16 *rows) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        Right right;
        Cells::load(right, rows + 16 * part, STRIDE);
        wmma::mma_sync(sums[part], left, right, sums[part]);
    }
}

// Forward. The softmax goes along: each row keeps the largest score so far and the sum of exp(score - largest), and where
// a larger one comes, all that was summed up before shrinks by exp(largest before - largest now).
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
                if (16 * group + 16 > there && 16 * group + cells.column(i) >= there) scores[group].x[i] = minus_infinity();
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
