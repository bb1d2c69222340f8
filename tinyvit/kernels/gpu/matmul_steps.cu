// The product of two matrices, four times: each version is faster than the one before, and all give the same numbers.
//
// C = A B with A (rows, depth), B (depth, columns), C (rows, columns), each row after row. Every number of C takes 2
// depth operations, and every number of A and B is needed many times over: for square matrices of n there are 2 n^3
// operations on 2 n^2 numbers. So what decides is how often a number is fetched, and from where. A kernel that fetched
// each from memory once would be bound by arithmetic. Training leaves matrix products to cuBLAS, which goes further on
// the same road.
#include <mma.h>

#include "common.cuh"

// ---------------------------------------------------------------------------------------------------------------------
// Step 1: a thread for each number of C.
//
// The threads of a warp differ in their column, so that they read 32 neighbouring numbers of B at once, and one of A.
// But nothing is kept: each multiplication fetches two numbers, from caches at best. Block: 32 x 8 threads.
extern "C" __global__ void matmul_naive(const T *a, const T *b, T *c, int rows, int columns, int depth) {
    int row = blockIdx.y * blockDim.y + threadIdx.y, column = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows || column >= columns) return;
    float sum = 0;
    a += (long long)row * depth, b += column;
    for (int k = 0; k < depth; k++) sum += load(a + k) * load(b + (long long)k * columns);
    store(c + (long long)row * columns + column, sum);
}

// ---------------------------------------------------------------------------------------------------------------------
// Step 2: tiles in shared memory.
//
// A block works on a tile of C, 32 x 32. It goes along the depth in steps of 32: its threads fetch a tile of A and a
// tile of B together, one number each, and then every thread uses 32 of each. So memory is read 32 times less. What now
// takes the time is shared memory: still two reads for each multiplication. Block: 32 x 32 threads.
const int SIDE = 32;

extern "C" __global__ void matmul_tiles(const T *a, const T *b, T *c, int rows, int columns, int depth) {
    __shared__ float a_tile[SIDE][SIDE], b_tile[SIDE][SIDE];
    int row = blockIdx.y * SIDE + threadIdx.y, column = blockIdx.x * SIDE + threadIdx.x;
    float sum = 0;
    for (int start = 0; start < depth; start += SIDE) {
        // Beyond the edges of the matrices there are zeros, which add nothing.
        int a_column = start + threadIdx.x, b_row = start + threadIdx.y;
        a_tile[threadIdx.y][threadIdx.x] =
            row < rows && a_column < depth ? load(a + (long long)row * depth + a_column) : 0;
        b_tile[threadIdx.y][threadIdx.x] =
            b_row < depth && column < columns ? load(b + (long long)b_row * columns + column) : 0;
        __syncthreads(); // the tiles are whole
#pragma unroll
        for (int k = 0; k < SIDE; k++) sum += a_tile[threadIdx.y][k] * b_tile[k][threadIdx.x];
        __syncthreads(); // all have used them: the next may come
    }
    if (row < rows && column < columns) store(c + (long long)row * columns + column, sum);
}

// ---------------------------------------------------------------------------------------------------------------------
// Step 3: tiles in registers.
//
// Each thread works on 8 x 8 numbers of C, and holds their sums in registers. For one step of the depth it reads 8
// numbers of A and 8 of B from shared memory, and multiplies 64 times: a quarter of a read for each, where step 2 had
// two. The reads are of four numbers at once. A block works on 128 x 128 numbers of C. Block: 16 x 16 threads.
const int EDGE = 128, STEP = 8;

// Eight of the numbers of a row of shared memory, for thread `part` of 16: two fours, half a row apart. So the 16
// threads read two stretches of memory without gaps; eight in a row each would have them meet in the same banks.
__device__ inline void read_eight(const float4 *row, int part, float *eight) {
    float4 low = row[part], high = row[part + 16];
    eight[0] = low.x, eight[1] = low.y, eight[2] = low.z, eight[3] = low.w;
    eight[4] = high.x, eight[5] = high.y, eight[6] = high.z, eight[7] = high.w;
}

// Where in the block's tile the number i of those eight is.
__device__ inline int place_of(int part, int i) { return i / 4 * (EDGE / 2) + part * 4 + i % 4; }

extern "C" __global__ void __launch_bounds__(256)
    matmul_registers(const T *a, const T *b, T *c, int rows, int columns, int depth) {
    // The tile of A lies transposed, so that the numbers of a column can be read four at once. Each row has four
    // numbers more than it needs: the threads that write a column of it then meet in no bank.
    __shared__ float4 a_tile[STEP][EDGE / 4 + 1], b_tile[STEP][EDGE / 4];
    int thread = threadIdx.y * 16 + threadIdx.x, first_row = blockIdx.y * EDGE, first_column = blockIdx.x * EDGE;
    float sums[8][8] = {};
    for (int start = 0; start < depth; start += STEP) {
#pragma unroll 2
        for (int i = thread; i < EDGE * STEP; i += 256) {
            int row = first_row + i / STEP, k = start + i % STEP;
            ((float *)a_tile[i % STEP])[i / STEP] = row < rows && k < depth ? load(a + (long long)row * depth + k) : 0;
            int b_row = start + i / EDGE, column = first_column + i % EDGE;
            ((float *)b_tile[i / EDGE])[i % EDGE] =
                b_row < depth && column < columns ? load(b + (long long)b_row * columns + column) : 0;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < STEP; k++) {
            float a_eight[8], b_eight[8];
            read_eight(a_tile[k], threadIdx.y, a_eight);
            read_eight(b_tile[k], threadIdx.x, b_eight);
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < 8; j++) sums[i][j] += a_eight[i] * b_eight[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) {
            int row = first_row + place_of(threadIdx.y, i), column = first_column + place_of(threadIdx.x, j);
            if (row < rows && column < columns) store(c + (long long)row * columns + column, sums[i][j]);
        }
}

// ---------------------------------------------------------------------------------------------------------------------
// Step 4: tensor cores.
//
// A warp hands whole tiles to the tensor cores: one instruction multiplies 16 x 16 with 16 x 16 numbers, bfloat16, and
// adds up in float32. On an H100 tensor cores can do that at about 15 times the rate of step 3's arithmetic. A block
// works on 64 x 64 numbers of C with four warps, each on 32 x 32, which is 2 x 2 tiles: each tile that a warp reads
// from shared memory it uses twice. Block: 128 threads.
using namespace nvcuda;
const int SQUARE = 64, SLICE = 32, PAD = 8; // the pad keeps the rows of a tile in different banks

extern "C" __global__ void __launch_bounds__(128)
    matmul_tensor_cores(const __nv_bfloat16 *a, const __nv_bfloat16 *b, __nv_bfloat16 *c, int rows, int columns,
                        int depth) {
    alignas(32) __shared__ __nv_bfloat16 a_tile[SQUARE][SLICE + PAD], b_tile[SLICE][SQUARE + PAD];
    alignas(32) __shared__ float results[4][16][16 + PAD];
    int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
    int first_row = blockIdx.y * SQUARE, first_column = blockIdx.x * SQUARE;
    int warp_row = warp / 2 * 32, warp_column = warp % 2 * 32; // in the block's tile

    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums[2][2];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) wmma::fill_fragment(sums[i][j], 0.0f);

    const __nv_bfloat16 zero = __float2bfloat16(0);
    for (int start = 0; start < depth; start += SLICE) {
        for (int i = thread; i < SQUARE * SLICE; i += 128) {
            int row = first_row + i / SLICE, k = start + i % SLICE;
            a_tile[i / SLICE][i % SLICE] = row < rows && k < depth ? a[(long long)row * depth + k] : zero;
            int b_row = start + i / SQUARE, column = first_column + i % SQUARE;
            b_tile[i / SQUARE][i % SQUARE] =
                b_row < depth && column < columns ? b[(long long)b_row * columns + column] : zero;
        }
        __syncthreads();
        for (int k = 0; k < SLICE; k += 16) {
            wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> left[2];
            wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::row_major> right[2];
            for (int i = 0; i < 2; i++) {
                wmma::load_matrix_sync(left[i], &a_tile[warp_row + 16 * i][k], SLICE + PAD);
                wmma::load_matrix_sync(right[i], &b_tile[k][warp_column + 16 * i], SQUARE + PAD);
            }
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 2; j++) wmma::mma_sync(sums[i][j], left[i], right[j], sums[i][j]);
        }
        __syncthreads();
    }
    // Which lane holds which number of a tile is nobody's business, so each tile goes through shared memory.
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            wmma::store_matrix_sync(&results[warp][0][0], sums[i][j], 16 + PAD, wmma::mem_row_major);
            __syncwarp();
            for (int n = lane; n < 256; n += 32) {
                int row = first_row + warp_row + 16 * i + n / 16, column = first_column + warp_column + 16 * j + n % 16;
                if (row < rows && column < columns)
                    c[(long long)row * columns + column] = __float2bfloat16(results[warp][n / 16][n % 16]);
            }
            __syncwarp();
        }
}
