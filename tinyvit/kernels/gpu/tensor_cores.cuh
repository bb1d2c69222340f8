// Products on tensor cores: a warp multiplies 16 x 16 tiles, each spread over the registers of its 32 lanes.
//
// CUDA leaves open which lane holds which numbers of a tile (its cells), so whatever works on the rows of a product
// would have to write it to shared memory and to read it back. On the chips of today the cells lie in quads: 4 lanes
// hold two whole rows, and a product can be the left operand of the next as it is. The launcher asks the chip whether
// that is so (tensor_cores.cu), and if not compiles with -DANYWHERE=1 what is right wherever the cells lie, and slower.
#pragma once
#ifndef BFLOAT16
#define BFLOAT16 1
#endif
#include <mma.h>

#include "vectors.cuh"

namespace wmma = nvcuda::wmma;

typedef wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> Left;
typedef wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::row_major> Right;
typedef wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::col_major> RightTransposed;
typedef wmma::fragment<wmma::accumulator, 16, 16, 16, float> Sums;

const int SCRATCH = 16 * 16;  // floats of shared memory that a warp needs for itself

// A tile from shared memory. It is loaded as one of half precision, since 16 bits are 16 bits: that takes one
// instruction (ldmatrix), where nvcc 13 makes four, and as many more to transpose, of the load of a bfloat16 tile.
template <class Use, class Layout>
__device__ void load_as_half(wmma::fragment<Use, 16, 16, 16, __nv_bfloat16, Layout> &to, const __nv_bfloat16 *from,
                             int stride) {
    wmma::fragment<Use, 16, 16, 16, __half, Layout> halves;
    wmma::load_matrix_sync(halves, (const __half *)from, stride);
#pragma unroll
    for (int i = 0; i < 8; i++) to.x[i] = __ushort_as_bfloat16(__half_as_ushort(halves.x[i]));
}

// Two rows in each quad of lanes: x[0], x[1], x[4], x[5] are of the first, x[2], x[3], x[6], x[7] of the second.
struct Quads {
    static const int rows = 2;  // of which a lane has numbers
    int first_row, first_column;

    __device__ Quads(float *) : first_row(threadIdx.x % 32 / 4), first_column(threadIdx.x % 4 * 2) {}
    static __device__ int row_of(int i) { return i / 2 % 2; }  // which of the lane's rows x[i] is in
    __device__ int row(int r) const { return first_row + 8 * r; }
    __device__ int column(int i) const { return first_column + i % 2 + i / 4 * 8; }

    template <class Fragment>
    static __device__ void load(Fragment &fragment, const __nv_bfloat16 *from, int stride) {
        load_as_half(fragment, from, stride);
    }

    // maxima[r], the largest number that the lane has of its row r, becomes that of the whole row. Two rounds reach all
    // four lanes of a quad.
    __device__ void row_maxima(float *maxima, float *) const {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            maxima[r] = fmaxf(maxima[r], __shfl_xor_sync(all_lanes, maxima[r], 1));
            maxima[r] = fmaxf(maxima[r], __shfl_xor_sync(all_lanes, maxima[r], 2));
        }
    }

    __device__ void to_left(const Sums &sums, Left &left, float *) const {
#pragma unroll
        for (int i = 0; i < 8; i++) left.x[i] = __float2bfloat16(sums.x[i]);
    }
};

// Each of a lane's 8 numbers may be in a row of its own, and rows meet in shared memory.
struct Anywhere {
    static const int rows = 8;
    unsigned packed[2];  // 16 row + column of each, in a byte

    __device__ Anywhere(float *scratch) {
        for (int i = threadIdx.x % 32; i < SCRATCH; i += 32) scratch[i] = i;
        __syncwarp();
        Sums sums;
        wmma::load_matrix_sync(sums, scratch, 16, wmma::mem_row_major);
        packed[0] = packed[1] = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) packed[i / 4] |= (unsigned)sums.x[i] << 8 * (i % 4);
        __syncwarp();
    }
    static __device__ int row_of(int i) { return i; }
    __device__ int cell(int i) const { return packed[i / 4] >> 8 * (i % 4) & 255; }
    __device__ int row(int r) const { return cell(r) / 16; }
    __device__ int column(int i) const { return cell(i) % 16; }

    template <class Fragment>
    static __device__ void load(Fragment &fragment, const __nv_bfloat16 *from, int stride) {
        wmma::load_matrix_sync(fragment, from, stride);
    }

    __device__ void row_maxima(float *maxima, float *scratch) const {
#pragma unroll
        for (int r = 0; r < 8; r++) scratch[cell(r)] = maxima[r];
        __syncwarp();
#pragma unroll
        for (int r = 0; r < 8; r++) {
            maxima[r] = scratch[16 * row(r)];
#pragma unroll 1
            for (int i = 1; i < 16; i++) maxima[r] = fmaxf(maxima[r], scratch[16 * row(r) + i]);
        }
        __syncwarp();
    }

    __device__ void to_left(const Sums &sums, Left &left, float *scratch) const {
        __nv_bfloat16 *tile = (__nv_bfloat16 *)scratch;
#pragma unroll
        for (int i = 0; i < 8; i++) tile[cell(i)] = __float2bfloat16(sums.x[i]);
        __syncwarp();
        wmma::load_matrix_sync(left, tile, 16);
        __syncwarp();
    }
};

#ifdef ANYWHERE
typedef Anywhere Cells;
#else
typedef Quads Cells;
#endif

// totals[r] = the sum over the lane's row r, added up in the same order wherever the cells lie.
__device__ inline void row_sums(const Cells &cells, const Sums &sums, float *totals, float *scratch) {
    wmma::store_matrix_sync(scratch, sums, 16, wmma::mem_row_major);
    __syncwarp();
#pragma unroll
    for (int r = 0; r < Cells::rows; r++) {
        totals[r] = 0;
        for (int i = 0; i < 16; i++) totals[r] += scratch[16 * cells.row(r) + i];
    }
    __syncwarp();
}
