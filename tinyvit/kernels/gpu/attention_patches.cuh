// The two products that attention is made of, on tiles in shared memory, with the results in registers.
//
// A tile is some tokens' queries, keys, values or gradients of one head, a row each. The 32 lanes of a warp stand in 4
// groups of 8: a warp has 4 R rows, of which group g has rows g, g + 4, g + 8, ...; in every row, lane l of the group
// has columns l, l + 8, l + 16, .... So a thread has an R x C patch of the result, and each number that it reads from
// shared memory goes into R or C multiply-adds. That decides the speed: shared memory delivers one number for every
// four multiply-adds that the cores can do.
#pragma once
#include "vectors.cuh"

#ifndef HEAD_WIDTH
#define HEAD_WIDTH 64
#endif

const int threads = 64;                          // of a block: two warps
const int tile_width = (HEAD_WIDTH + 7) / 8 * 8; // the last columns are zero where a head is narrower
const int columns = tile_width / 8;              // of a tile that a lane has

// Columns that a lane has next to each other, to read them at once: lane l has columns (l + 8 i) adjacent + 0, 1, ....
const int adjacent = tile_width % 32 == 0 ? 4 : tile_width % 16 == 0 ? 2 : 1;

// A row of a tile begins this many float4 after the one before. It is odd, so that the 8 lanes of a group, which read
// from 8 rows at once, read from different banks.
const int pitch = tile_width / 4 + 1;

// Rows of the tiles that pass by a block's own rows: the wider the heads, the fewer, for all to lie in 48 KB.
const int passing_tile = HEAD_WIDTH <= 64 ? 32 : HEAD_WIDTH <= 96 ? 16 : 8;

// A row of the weights, of a block's own rows for a passing tile, begins this many float4 after the one before. It is
// twice an odd number, so that the 4 groups of a warp, which write 8 numbers of 4 rows at once, write to all 32 banks.
const int weights_pitch = 2 * (passing_tile / 8 | 1);

// Numbers that are read at once.
template <int N> struct alignas(4 * N) Pack {
    float at[N];
};

const float log2_e = 1.4426950408889634f;
__device__ inline float infinity() { return __int_as_float(0x7f800000); }

// The place of a thread: its first row in the block's tile, its warp's first row, and its lane in the group.
template <int R> __device__ inline int first_row() { return threadIdx.x / 32 * 4 * R + threadIdx.x % 32 / 8; }
template <int R> __device__ inline int first_row_of_warp() { return threadIdx.x / 32 * 4 * R; }
__device__ inline int lane_of_group() { return threadIdx.x % 8; }

// One head of one image, of which a block works on a tile, and where its numbers lie. qkv (B, N, 3 D) is read as it is:
// the query of head h of a token begins h d numbers after the token's row, its key D numbers further on, and its value
// another D.
struct Head {
    int first;           // token of the tile
    int width;           // D
    long long start;     // of the head's first query in qkv
    long long out;       // of its first output in out (B, M, D)
    long long statistic; // of its row in logsumexp (B, H, M)

    // A block for each tile of `rows` tokens; those of one head are neighbours, and share what they read in the cache.
    __device__ Head(int rows, int rows_a_tile, int tokens, int asking, int heads) : width(heads * HEAD_WIDTH) {
        int tiles = (rows + rows_a_tile - 1) / rows_a_tile, number = blockIdx.x / tiles;
        int head = number % heads, image = number / heads;
        first = blockIdx.x % tiles * rows_a_tile;
        start = (long long)image * tokens * 3 * width + head * HEAD_WIDTH;
        out = (long long)image * asking * width + head * HEAD_WIDTH;
        statistic = (long long)number * asking;
    }
    __device__ long long query(int token) const { return start + (long long)token * 3 * width; }
    __device__ long long key(int token) const { return query(token) + width; }
    __device__ long long value(int token) const { return query(token) + 2 * width; }
    __device__ long long output(int token) const { return out + (long long)token * width; }
};

// Fills a tile with `count` rows that lie `step` numbers apart in memory, and zeros below and beside them.
template <int ROWS> __device__ inline void load_tile(float4 *tile, const T *from, long long step, int count) {
#pragma unroll 8
    for (int i = threadIdx.x; i < ROWS * (tile_width / VECTOR); i += threads) {
        int row = i / (tile_width / VECTOR), column = i % (tile_width / VECTOR) * VECTOR;
        float values[VECTOR] = {};
        if (row < count && column < HEAD_WIDTH) load_vector(from + row * step + column, values);
        float *to = (float *)(tile + row * pitch) + column;
        if (VECTOR % 4 == 0) {
#pragma unroll
            for (int j = 0; j < VECTOR; j += 4)
                *(float4 *)(to + j) = make_float4(values[j], values[j + 1], values[j + 2], values[j + 3]);
        } else {
            *to = values[0];
        }
    }
}

// result[r][c] = row r of `left` times row c of `right`: both point to the first row that the thread has a part in.
template <int R, int C>
__device__ inline void products(float (&result)[R][C], const float4 *left, const float4 *right) {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int c = 0; c < C; c++) result[r][c] = 0;
#pragma unroll 1
    for (int k = 0; k < tile_width / 4; k++) {
        float4 a[R];
#pragma unroll
        for (int r = 0; r < R; r++) a[r] = left[4 * r * pitch + k];
#pragma unroll
        for (int c = 0; c < C; c++) {
            float4 b = right[8 * c * pitch + k];
#pragma unroll
            for (int r = 0; r < R; r++) {
                result[r][c] += a[r].x * b.x;
                result[r][c] += a[r].y * b.y;
                result[r][c] += a[r].z * b.z;
                result[r][c] += a[r].w * b.w;
            }
        }
    }
}

// Puts a thread's patch of the weights where all lanes of its group find it.
template <int R, int C> __device__ inline void put_weights(float4 *weights, const float (&patch)[R][C]) {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int c = 0; c < C; c++)
            ((float *)(weights + 4 * r * weights_pitch))[lane_of_group() + 8 * c] = patch[r][c];
}

// sum[r] += row r of the weights times the first `count` rows of a tile. It goes on to the next multiple of 4, where
// the rows are zero.
template <int R>
__device__ inline void accumulate(float (&sum)[R][columns], const float4 *weights, const float4 *tile, int count) {
    for (int j = 0; j < count; j += 4) {
        Pack<4> weight[R];
#pragma unroll
        for (int r = 0; r < R; r++) weight[r] = *(const Pack<4> *)(weights + 4 * r * weights_pitch + j / 4);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const Pack<adjacent> *row = (const Pack<adjacent> *)(tile + (j + i) * pitch) + lane_of_group();
#pragma unroll
            for (int c = 0; c < columns; c++)
#pragma unroll
                for (int r = 0; r < R; r++) sum[r][c] += weight[r].at[i] * row[c / adjacent * 8].at[c % adjacent];
        }
    }
}

// Writes a thread's columns of one row: factor * sum.
__device__ inline void store_row(T *row, const float (&sum)[columns], float factor) {
#pragma unroll
    for (int c = 0; c < columns; c += adjacent) {
        int column = (lane_of_group() + c / adjacent * 8) * adjacent;
        if (column >= HEAD_WIDTH) continue;
        float values[adjacent];
#pragma unroll
        for (int i = 0; i < adjacent; i++) values[i] = factor * sum[c + i];
        if (adjacent == VECTOR) {
            store_vector(row + column, values);
        } else {
#pragma unroll
            for (int i = 0; i < adjacent; i++)
                if (column + i < HEAD_WIDTH) store(row + column + i, values[i]);
        }
    }
}

// The sum or the largest over the 8 lanes of a group, in each of them.
__device__ inline float group_sum(float value) {
#pragma unroll
    for (int distance = 4; distance > 0; distance /= 2) value += __shfl_xor_sync(all_lanes, value, distance);
    return value;
}
__device__ inline float group_max(float value) {
#pragma unroll
    for (int distance = 4; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(all_lanes, value, distance));
    return value;
}
