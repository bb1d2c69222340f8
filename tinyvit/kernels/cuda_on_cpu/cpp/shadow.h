// What is known of each element of the arrays.
#pragma once
#include <vector>

#include "accesses.h"
#include "fibers.h"
#include "moments.h"

namespace cuda_on_cpu {

// What is known of one element. Two readers are enough: whoever of another warp writes is in conflict with one of them,
// and of two lanes of a warp any other is, too. After them more readers of the same kind are of no interest.
struct Cell {
    When written, read[2];
    When settled;                    // the moment, for all threads of the warp or (from_many) of the block
    uint32_t written_by, read_by[2]; // the code
};

const When from_many = 0xffffffff;

// The moment that now is for all lanes of the warp that have heard as much.
inline When now_for_warp() { return current->now & ~(When)31; }

// An array's cells, one for every 2^shift bytes: the size of the smallest access so far.
struct Shadow {
    Array *array;
    unsigned shift = 4;
    std::vector<Cell> cells; // what earlier launches have left in them is told by its epoch
};

const size_t guess_count = 1024;
extern Shadow *guesses[guess_count]; // by the code that makes the access: it mostly stays in one array
extern size_t accesses_in_this_turn;

inline Shadow *&guess_at(const void *code) { return guesses[(size_t)code / 4 % guess_count]; }

// Whether a read is sure to be right, and to tell nothing new: this is quick, and true of most.
inline bool is_settled(const char *address, size_t size, const void *code) {
    if (!in_fiber || launch->event_limit) return false;
    accesses_in_this_turn++;
    Shadow *shadow = guess_at(code);
    size_t offset = address - shadow->array->start;
    if (offset >= shadow->array->size || size != (size_t)1 << shadow->shift || offset % size) return false;
    When settled = shadow->cells[offset >> shadow->shift].settled;
    return settled == now_for_warp() || settled == ((When)epoch << 32 | from_many);
}

} // namespace cuda_on_cpu
