// Layer normalisation, alone or fused with the addition of a residual branch before it.
//
// It does little arithmetic for each number it moves, so its speed is that of memory: what counts is to read each
// number once. A warp takes a row and keeps it in registers, each lane PIECES vectors of it; mean, variance and result
// are made from the registers. PIECES is a constant of the compiler, since registers have no index that could vary: the
// launcher compiles one version for each width class. A row too long for that is the case of the kernels named _wide,
// which read it again from memory (mostly from the cache) each time they need it.
#include "vectors.cuh"

#ifndef PIECES
#define PIECES 3
#endif
#define WARPS 4  // rows that a block works on at a time, as in layer_norm.py
// How many blocks of the backward pass a multiprocessor shall hold at once: this bounds the registers of a thread to
// 80, 128, 168 or 255. The more threads there are, the more reads are under way. As in layer_norm.py.
const int BLOCKS = PIECES * VECTOR <= 8 ? 6 : PIECES * VECTOR <= 16 ? 4 : PIECES * VECTOR <= 24 ? 3 : 2;

// Where the piece of this lane begins in its row. Lanes hold neighbouring vectors: the warp reads 512 bytes in a row.
__device__ inline int column_of(int piece) { return (piece * 32 + threadIdx.x) * VECTOR; }

// The number that is read back after storing this one.
__device__ inline float as_stored(float value) {
    T stored;
    store(&stored, value);
    return load(&stored);
}

// z = x + branch (where there is one), and y = gamma (z - mean) / sqrt(var + eps) + beta. A warp for each row.
extern "C" __global__ void layer_norm_forward(const T *x, const T *branch, const T *gamma, const T *beta, T *z, T *y,
                                              float *statistics, int rows, int width, float eps) {
    long long row = (long long)blockIdx.x * WARPS + threadIdx.y, start = row * width;
    if (row >= rows) return;  // a whole warp leaves together
    float values[PIECES][VECTOR], sum = 0;
#pragma unroll
    for (int piece = 0; piece < PIECES; piece++)
        if (column_of(piece) < width) load_vector(x + start + column_of(piece), values[piece]);
    if (branch) {
#pragma unroll
        for (int piece = 0; piece < PIECES; piece++) {
            if (column_of(piece) >= width) continue;
            float added[VECTOR];
            load_vector(branch + start + column_of(piece), added);
            // What is normalised is z as it is stored, for backward will see that.
#pragma unroll
            for (int i = 0; i < VECTOR; i++) values[piece][i] = as_stored(values[piece][i] + added[i]);
            store_vector(z + start + column_of(piece), values[piece]);
        }
    }
#pragma unroll
    for (int piece = 0; piece < PIECES; piece++)
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            if (column_of(piece) < width) sum += values[piece][i];
    float mean = warp_sum(sum) / width;
    // The mean of squared distances and not that of squares less the squared mean: nothing large cancels.
    float squares = 0;
#pragma unroll
    for (int piece = 0; piece < PIECES; piece++)
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            if (column_of(piece) < width) squares += (values[piece][i] - mean) * (values[piece][i] - mean);
    float inverse_std = rsqrtf(warp_sum(squares) / width + eps);
#pragma unroll
    for (int piece = 0; piece < PIECES; piece++) {
        if (column_of(piece) >= width) continue;
        float gains[VECTOR], biases[VECTOR];  // read by every warp, so they are in the cache
        load_vector(gamma + column_of(piece), gains);
        load_vector(beta + column_of(piece), biases);
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            values[piece][i] = (values[piece][i] - mean) * inverse_std * gains[i] + biases[i];
        store_vector(y + start + column_of(piece), values[piece]);
    }
    if (threadIdx.x == 0) statistics[2 * row] = mean, statistics[2 * row + 1] = inverse_std;
}

// dx = dz + (g - mean(g) - n mean(g n)) / std with n the normalised row and g = gamma dy, dz only where it is given.
//
// dgamma = sum of dy n and dbeta = sum of dy, over all rows, come out of the same pass: a warp walks down the rows,
// each lane adding up its own columns in registers. At the end the warps of a block add theirs, and the block writes
// one row of partials (blocks, 2 D); a second launch sums those. The order is fixed, so every run gives the same
// numbers.
extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS)
layer_norm_backward(const T *dz, const T *dy, const T *z, const float *statistics, const T *gamma, T *dx,
                    float *partials, int rows, int width) {
    float dgamma[PIECES][VECTOR] = {}, dbeta[PIECES][VECTOR] = {};
    for (long long row = (long long)blockIdx.x * WARPS + threadIdx.y; row < rows; row += (long long)gridDim.x * WARPS) {
        long long start = row * width;
        // All that is read of this row is asked for before anything is computed, so that it arrives together. It is
        // kept as it was stored, for bfloat16 in half the registers.
        Vector d[PIECES], normalised[PIECES], passed[PIECES] = {};
#pragma unroll
        for (int piece = 0; piece < PIECES; piece++) {
            if (column_of(piece) >= width) continue;
            d[piece] = *(const Vector *)(dy + start + column_of(piece));
            normalised[piece] = *(const Vector *)(z + start + column_of(piece));
            if (dz) passed[piece] = *(const Vector *)(dz + start + column_of(piece));
        }
        float mean = statistics[2 * row], inverse_std = statistics[2 * row + 1];
        float along_ones = 0, along_n = 0;
#pragma unroll
        for (int piece = 0; piece < PIECES; piece++) {
            if (column_of(piece) >= width) continue;
            float gains[VECTOR];
            load_vector(gamma + column_of(piece), gains);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) {
                float n = (load(normalised[piece].numbers + i) - mean) * inverse_std, dout = load(d[piece].numbers + i);
                dgamma[piece][i] += dout * n;
                dbeta[piece][i] += dout;
                along_ones += dout * gains[i];
                along_n += dout * gains[i] * n;
            }
        }
        along_ones = warp_sum(along_ones) / width;
        along_n = warp_sum(along_n) / width;
#pragma unroll
        for (int piece = 0; piece < PIECES; piece++) {
            if (column_of(piece) >= width) continue;
            float gains[VECTOR], result[VECTOR];
            load_vector(gamma + column_of(piece), gains);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) {
                float n = (load(normalised[piece].numbers + i) - mean) * inverse_std, dout = load(d[piece].numbers + i);
                float through_norm = (dout * gains[i] - along_ones - n * along_n) * inverse_std;
                result[i] = through_norm + load(passed[piece].numbers + i);
            }
            store_vector(dx + start + column_of(piece), result);
        }
    }
    __shared__ float shared[WARPS][VECTOR * 32];
    partials += (long long)blockIdx.x * 2 * width;
#pragma unroll
    for (int piece = 0; piece < PIECES; piece++)
#pragma unroll
        for (int which = 0; which < 2; which++) {
            __syncthreads();  // the sums before these have been read
#pragma unroll
            for (int i = 0; i < VECTOR; i++)
                shared[threadIdx.y][i * 32 + threadIdx.x] = which ? dbeta[piece][i] : dgamma[piece][i];
            __syncthreads();
            for (int i = threadIdx.y; i < VECTOR; i += WARPS) {
                float sum = 0;
                for (int warp = 0; warp < WARPS; warp++) sum += shared[warp][i * 32 + threadIdx.x];
                if (column_of(piece) < width) partials[which * width + column_of(piece) + i] = sum;
            }
        }
}

// The same for rows of any width, a warp for each.
extern "C" __global__ void layer_norm_forward_wide(const T *x, const T *branch, const T *gamma, const T *beta, T *z,
                                                   T *y, float *statistics, int rows, int width, float eps) {
    long long row = (long long)blockIdx.x * WARPS + threadIdx.y, start = row * width;
    if (row >= rows) return;
    if (branch) {
        for (int i = threadIdx.x; i < width; i += 32)
            store(z + start + i, load(x + start + i) + load(branch + start + i));
        x = z;  // each lane reads only what it wrote itself
    }
    float sum = 0, squares = 0;
    for (int i = threadIdx.x; i < width; i += 32) sum += load(x + start + i);
    float mean = warp_sum(sum) / width;
    for (int i = threadIdx.x; i < width; i += 32)
        squares += (load(x + start + i) - mean) * (load(x + start + i) - mean);
    float inverse_std = rsqrtf(warp_sum(squares) / width + eps);
    for (int i = threadIdx.x; i < width; i += 32)
        store(y + start + i, (load(x + start + i) - mean) * inverse_std * load(gamma + i) + load(beta + i));
    if (threadIdx.x == 0) statistics[2 * row] = mean, statistics[2 * row + 1] = inverse_std;
}

// The same for rows of any width: a block is one warp, which adds to its row of partials in memory.
extern "C" __global__ void layer_norm_backward_wide(const T *dz, const T *dy, const T *z, const float *statistics,
                                                    const T *gamma, T *dx, float *partials, int rows, int width) {
    float *dgamma = partials + (long long)blockIdx.x * 2 * width, *dbeta = dgamma + width;
    for (int i = threadIdx.x; i < width; i += 32) dgamma[i] = 0, dbeta[i] = 0;
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        long long start = row * width;
        float mean = statistics[2 * row], inverse_std = statistics[2 * row + 1];
        float along_ones = 0, along_n = 0;
        for (int i = threadIdx.x; i < width; i += 32) {
            float n = (load(z + start + i) - mean) * inverse_std, dout = load(dy + start + i);
            dgamma[i] += dout * n;
            dbeta[i] += dout;
            along_ones += dout * load(gamma + i);
            along_n += dout * load(gamma + i) * n;
        }
        along_ones = warp_sum(along_ones) / width;
        along_n = warp_sum(along_n) / width;
        for (int i = threadIdx.x; i < width; i += 32) {
            float n = (load(z + start + i) - mean) * inverse_std, g = load(dy + start + i) * load(gamma + i);
            store(dx + start + i, (g - along_ones - n * along_n) * inverse_std + (dz ? load(dz + start + i) : 0));
        }
    }
}
