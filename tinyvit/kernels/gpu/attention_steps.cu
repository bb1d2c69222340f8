// Attention forward in steps: qkv (B, N, 3 D) -> out (B, N, D), softmax(q k^T / sqrt(d)) v for each head of width d.
//
// Each of N queries meets N keys and N values: 4 N^2 d operations on 4 N d numbers. So arithmetic should decide, and
// what decides instead is how often a number travels before it is used. Step 3 is what training uses: attention.cu.
#include "attention_patches.cuh"

// ---------------------------------------------------------------------------------------------------------------------
// Step 1: a thread for each query, and two passes over the keys.
//
// The first pass finds the largest score, the second takes e^(score - largest), which cannot overflow, and adds up. No
// weight is ever stored, so that memory holds no N x N numbers. But every thread reads every key twice and every value
// once, number by number, from caches at best, and uses each for one multiply-add. Block: 64 threads.
extern "C" __global__ void attention_thread_a_query(const T *qkv, T *out, int tokens, int heads) {
    Head head(tokens, threads, tokens, tokens, heads);
    int token = head.first + threadIdx.x;
    if (token >= tokens) return;
    const T *query = qkv + head.query(token);
    float scale = rsqrtf(HEAD_WIDTH), most = -infinity(), total = 0, sum[HEAD_WIDTH] = {};
    for (int pass = 1; pass <= 2; pass++)
        for (int other = 0; other < tokens; other++) {
            const T *key = qkv + head.key(other), *value = qkv + head.value(other);
            float score = 0;
            for (int c = 0; c < HEAD_WIDTH; c++) score += load(query + c) * load(key + c);
            if (pass == 1) {
                most = fmaxf(most, score);
                continue;
            }
            float weight = exp2f((score - most) * scale * log2_e);
            total += weight;
#pragma unroll
            for (int c = 0; c < HEAD_WIDTH; c++) sum[c] += weight * load(value + c);
        }
#pragma unroll
    for (int c = 0; c < HEAD_WIDTH; c++) store(out + head.output(token) + c, sum[c] / total);
}

// ---------------------------------------------------------------------------------------------------------------------
// Step 2: tiles in shared memory, and one pass.
//
// The threads of a block fetch a tile of keys and values together, in wide reads, and then each meets all of the tile:
// memory is read 64 times less. And since softmax can run with the largest score so far, if what is summed shrinks
// whenever that grows, one pass is enough ("online softmax"): each key is fetched once, and a third of the arithmetic
// is saved. What now takes the time is shared memory, from which a multiply-add of a score reads two numbers, and one
// of a value one, four at a time. Block: 64 threads.
extern "C" __global__ void __launch_bounds__(64) attention_shared_tiles(const T *qkv, T *out, int tokens, int heads) {
    __shared__ float4 queries[threads * pitch], keys[passing_tile * pitch], values[passing_tile * pitch];
    Head head(tokens, threads, tokens, tokens, heads);
    const float4 *query = queries + threadIdx.x * pitch;
    load_tile<threads>(queries, qkv + head.query(head.first), 3 * head.width, tokens - head.first);
    float scale = rsqrtf(HEAD_WIDTH), most = -infinity(), total = 0, sum[tile_width] = {};
    for (int first = 0; first < tokens; first += passing_tile) {
        int count = min(passing_tile, tokens - first);
        __syncthreads(); // all have done with the tiles before
        load_tile<passing_tile>(keys, qkv + head.key(first), 3 * head.width, count);
        load_tile<passing_tile>(values, qkv + head.value(first), 3 * head.width, count);
        __syncthreads();
        for (int j = 0; j < count; j++) {
            float score = 0;
            for (int k = 0; k < tile_width / 4; k++) {
                float4 a = query[k], b = keys[j * pitch + k];
                score += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
            }
            if (score > most) {
                float shrink = exp2f((most - score) * scale * log2_e);
                most = score, total *= shrink;
#pragma unroll
                for (int c = 0; c < tile_width; c++) sum[c] *= shrink;
            }
            float weight = exp2f((score - most) * scale * log2_e);
            total += weight;
#pragma unroll
            for (int k = 0; k < tile_width / 4; k++) {
                float4 value = values[j * pitch + k];
                sum[4 * k] += weight * value.x;
                sum[4 * k + 1] += weight * value.y;
                sum[4 * k + 2] += weight * value.z;
                sum[4 * k + 3] += weight * value.w;
            }
        }
    }
    if (head.first + threadIdx.x >= tokens) return;
    T *row = out + head.output(head.first + threadIdx.x);
#pragma unroll
    for (int c = 0; c < HEAD_WIDTH; c++) store(row + c, sum[c] / total);
}

// ---------------------------------------------------------------------------------------------------------------------
// Step 3: patches in registers, in attention.cu.
//
// A thread no longer has one score of one query at a time but a patch of 8 queries by 4 keys: for 4 columns it reads 12
// float4, and does 128 multiply-adds with them. So a multiply-add costs 0.4 numbers instead of two, and the arithmetic
// units no longer wait for shared memory. A row now belongs to 8 threads: they agree on its largest score by shuffles,
// and hand each other their weights through shared memory, once per tile. Step 4 is tensor cores:
// attention_tensor_cores.cu.
