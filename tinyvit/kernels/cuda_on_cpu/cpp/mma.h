// A stand-in for CUDA's mma.h: the 32 lanes of a warp multiply small matrices together, as tensor cores do.
//
// A fragment is a tile spread over the lanes of a warp. CUDA leaves open which lane holds which of its numbers, and a
// kernel that assumes an answer can fail on another chip. So the answer here changes with the order of turns: in order
// 0 it is that of today's chips, in all others it is none that anybody would guess.
#pragma once
#include <stdint.h>
#include <string.h>

#include "blocks.h"
#include "cuda_bf16.h"
#include "cuda_fp16.h"

// Inlined, so that the line of an access is found in the kernel.
#define INLINED inline __attribute__((always_inline))
#define HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace nvcuda {
namespace wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

// The rows and columns of a tile, by its part in the product (m x k) (k x n) = (m x n).
template <class Use, int m, int n, int k> struct Tile;
template <int m, int n, int k> struct Tile<matrix_a, m, n, k> { enum { rows = m, columns = k, step = 77 }; };
template <int m, int n, int k> struct Tile<matrix_b, m, n, k> { enum { rows = k, columns = n, step = 45 }; };
template <int m, int n, int k> struct Tile<accumulator, m, n, k> { enum { rows = m, columns = n, step = 91 }; };

struct Cell {
    int row, column;
};

// Where in the tile lane % 32 has its x[i] on chips from sm_80 on: the tile falls into blocks of 8 x 8, of which each
// lane has two neighbours in a row, or in a column of the right operand.
template <class Use, int rows> Cell usual_cell(int lane, int i) {
    int block = i / 2, across = lane / 4, along = lane % 4 * 2 + i % 2;
    bool right = __is_same(Use, matrix_b);
    return {block % (rows / 8) * 8 + (right ? along : across), block / (rows / 8) * 8 + (right ? across : along)};
}

template <class Use, int m, int n, int k, class X, class Layout = void> struct fragment {
    static_assert(k == 16 && m * n == 256 && m >= 8 && n >= 8, "tensor cores have no product of this shape");
    typedef Tile<Use, m, n, k> Shape;
    enum { held = Shape::rows * Shape::columns / 32 };            // how many numbers of the tile each lane holds
    enum { num_elements = __is_same(X, __half) ? 16 : held }; // of half precision some, or all, are there twice
    X x[num_elements];

    fragment() { memset(x, 0xff, sizeof x); } // NaN until it is filled or loaded

    // cells()[lane * held + i]: where in the tile the lane has its x[i].
    static const Cell *cells() {
        static Cell usual[32 * held], unusual[32 * held];
        if (!unusual[0].row && !unusual[0].column)
            for (int slot = 0; slot < 32 * held; slot++) {
                int number = (slot * Shape::step + 5) % (32 * held);
                usual[slot] = usual_cell<Use, Shape::rows>(slot / held, slot % held);
                unusual[slot] = {number / Shape::columns, number % Shape::columns};
            }
        return cuda_on_cpu::order_of_turns() ? unusual : usual;
    }
};

// What a lane brings along when the warp reads or writes a tile: the same in all lanes.
struct Access {
    const void *address;
    unsigned stride;
    bool uniform;
};

inline void access(const char *operation, const void *address, unsigned stride, size_t bytes,
                   cuda_on_cpu::Place place) {
    Access request = {address, stride, true};
    cuda_on_cpu::collective(operation, 0xffffffff, &request, [](void **requests) {
        Access **lanes = (Access **)requests;
        for (int lane = 0; lane < 32; lane++)
            lanes[lane]->uniform = lanes[lane]->address == lanes[0]->address && lanes[lane]->stride == lanes[0]->stride;
    }, place);
    if (!request.uniform) cuda_on_cpu::fail(place, "%s: the lanes name different tiles", operation);
    if ((uintptr_t)address % 32)
        cuda_on_cpu::fail(place, "%s: the tile begins %d bytes after a multiple of 32, where it must begin", operation,
                          (int)((uintptr_t)address % 32));
    if (stride * bytes % 16)
        cuda_on_cpu::fail(place, "%s: the distance of %u from row to row is no multiple of %d", operation, stride,
                          (int)(16 / bytes));
}

template <class Fragment, class X>
INLINED void load_cells(Fragment &to, const X *from, unsigned stride, bool by_rows, cuda_on_cpu::Place place) {
    access("load_matrix_sync", from, stride, sizeof(X), place);
    const Cell *cells = Fragment::cells() + cuda_on_cpu::current->lane * Fragment::held;
    for (int i = 0; i < Fragment::num_elements; i++) {
        Cell cell = cells[i % Fragment::held];
        to.x[i] = from[by_rows ? (size_t)cell.row * stride + cell.column : (size_t)cell.column * stride + cell.row];
    }
}

template <class Use, int m, int n, int k, class X, class Layout>
INLINED void load_matrix_sync(fragment<Use, m, n, k, X, Layout> &to, const X *from, unsigned stride, HERE) {
    load_cells(to, from, stride, __is_same(Layout, row_major), {file, line});
}

template <int m, int n, int k, class X>
INLINED void load_matrix_sync(fragment<accumulator, m, n, k, X> &to, const X *from, unsigned stride, layout_t layout,
                              HERE) {
    load_cells(to, from, stride, layout == mem_row_major, {file, line});
}

template <int m, int n, int k, class X>
INLINED void store_matrix_sync(X *to, const fragment<accumulator, m, n, k, X> &from, unsigned stride, layout_t layout,
                               HERE) {
    typedef fragment<accumulator, m, n, k, X> Fragment;
    access("store_matrix_sync", to, stride, sizeof(X), {file, line});
    const Cell *cells = Fragment::cells() + cuda_on_cpu::current->lane * Fragment::held;
    for (int i = 0; i < Fragment::held; i++)
        to[layout == mem_row_major ? (size_t)cells[i].row * stride + cells[i].column
                                   : (size_t)cells[i].column * stride + cells[i].row] = from.x[i];
}

template <class Fragment, class X> void fill_fragment(Fragment &fragment, X value) {
    for (auto &x : fragment.x) x = value;
}

inline float number(float x) { return x; }
inline float number(__nv_bfloat16 x) { return __bfloat162float(x); }

// The parts of one product that a lane holds.
template <class Sums, class Left, class Right> struct Product {
    Sums *result;
    const Left *left;
    const Right *right;
    const Sums *sums;
};

template <class Fragment, class Tile> void gather(Tile &tile, const Fragment &fragment, int lane) {
    const Cell *cells = Fragment::cells() + lane * Fragment::held;
    for (int i = 0; i < Fragment::held; i++) tile[cells[i].row][cells[i].column] = number(fragment.x[i]);
}

// result = left right + sums, added up in float32.
template <int m, int n, int k, class X, class LeftLayout, class RightLayout>
void mma_sync(fragment<accumulator, m, n, k, float> &result, const fragment<matrix_a, m, n, k, X, LeftLayout> &left,
              const fragment<matrix_b, m, n, k, X, RightLayout> &right,
              const fragment<accumulator, m, n, k, float> &sums, HERE) {
    typedef fragment<accumulator, m, n, k, float> Sums;
    typedef Product<Sums, fragment<matrix_a, m, n, k, X, LeftLayout>, fragment<matrix_b, m, n, k, X, RightLayout>> Part;
    Part request = {&result, &left, &right, &sums};
    cuda_on_cpu::collective("mma_sync", 0xffffffff, &request, [](void **requests) {
        float a[m][k], b[k][n], c[m][n];
        for (int lane = 0; lane < 32; lane++) {
            const Part *part = (const Part *)requests[lane];
            gather(a, *part->left, lane), gather(b, *part->right, lane), gather(c, *part->sums, lane);
        }
        for (int row = 0; row < m; row++)
            for (int i = 0; i < k; i++)
                for (int column = 0; column < n; column++) c[row][column] += a[row][i] * b[i][column];
        const Cell *cells = Sums::cells();
        for (int lane = 0; lane < 32; lane++)
            for (float &x : ((Part *)requests[lane])->result->x) x = c[cells->row][cells->column], cells++;
    }, {file, line});
}

} // namespace wmma
} // namespace nvcuda

#undef INLINED
#undef HERE
