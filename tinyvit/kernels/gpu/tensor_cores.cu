// Asks a chip how its tensor cores want their operands: see tensor_cores.cuh.
#include "tensor_cores.cuh"

// Whether a tile loaded as one of half precision lies as one of bfloat16.
template <class Fragment> __device__ bool same_as_half(const __nv_bfloat16 *tile) {
    Fragment fragment, halves;
    wmma::load_matrix_sync(fragment, tile, 16);
    load_as_half(halves, tile, 16);
    bool same = true;
    for (int i = 0; i < 8; i++) same = same && __bfloat162float(fragment.x[i]) == __bfloat162float(halves.x[i]);
    return same;
}

// answer[0] = 1 if products and left operands lie in quads, and tiles can be loaded as half precision; else 0.
// One warp.
extern "C" __global__ void lie_in_quads(int *answer) {
    __shared__ __align__(128) float scratch[SCRATCH];
    __shared__ __align__(128) __nv_bfloat16 tile[SCRATCH];
    for (int i = threadIdx.x; i < SCRATCH; i += 32) tile[i] = __float2bfloat16((float)i);  // exact up to 256
    __syncwarp();
    Anywhere found(scratch);
    Quads quads(scratch);
    Left left;
    wmma::load_matrix_sync(left, tile, 16);
    bool yes = true;
    for (int i = 0; i < 8; i++) {
        int cell = 16 * quads.row(quads.row_of(i)) + quads.column(i);
        yes = yes && found.cell(i) == cell && __bfloat162float(left.x[i]) == cell;
    }
    yes = same_as_half<Left>(tile) && yes;
    yes = same_as_half<Right>(tile) && yes;
    yes = same_as_half<RightTransposed>(tile) && yes;
    yes = __all_sync(all_lanes, yes);
    if (threadIdx.x == 0) answer[0] = yes;
}
