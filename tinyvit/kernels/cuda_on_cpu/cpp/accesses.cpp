#include "accesses.h"

#include <algorithm>
#include <vector>

#include "fibers.h"
#include "moments.h"
#include "reports.h"
#include "shadow.h"
#include "trace.h"

namespace cuda_on_cpu {

const size_t most_in_a_turn = 1 << 25;

static std::vector<Shadow> shadows;
static Array empty;
static Shadow nowhere = {&empty, 0, {}};
Shadow *guesses[guess_count];
size_t accesses_in_this_turn;

// The first read of shared memory that nobody has written. If another thread writes it before the next barrier, that is
// a race, and reported as such; so this waits until then, or until what was read leads astray.
static struct {
    const Array *array;
    Access access;
    Thread *thread;
} unwritten;

static void set_granularity(Shadow &shadow, unsigned shift) {
    shadow.shift = shift;
    size_t count = (shadow.array->size >> shift) + 1;
    if (shadow.cells.size() < count) shadow.cells.resize(count);
}

void begin_launch_of_accesses() {
    unwritten.array = 0;
    for (Shadow *&guess : guesses) guess = &nowhere;
    shadows.resize(std::max(shadows.size(), (size_t)launch->array_count));
    for (int i = 0; i < launch->array_count; i++) {
        shadows[i].array = launch->arrays + i;
        set_granularity(shadows[i], shadows[i].shift); // that of the launch before is a good guess
    }
}

void begin_turn_of_accesses() { accesses_in_this_turn = 0; }

static Shadow *shadow_of(const Access &access) {
    for (int i = 0; i < launch->array_count; i++) {
        const Array &array = launch->arrays[i];
        size_t offset = access.address - array.start;
        if (offset < array.size && access.size <= array.size - offset) return &shadows[i];
    }
    return 0;
}

// Tells apart what has been one cell so far.
static void refine(Shadow &shadow, unsigned shift) {
    std::vector<Cell> before((shadow.array->size >> shadow.shift) + 1);
    std::swap(before, shadow.cells);
    unsigned coarser = shadow.shift - shift;
    set_granularity(shadow, shift);
    for (size_t i = 0; i < shadow.cells.size() && i >> coarser < before.size(); i++)
        shadow.cells[i] = before[i >> coarser];
}

static void check_read(const Shadow &shadow, Cell &cell, const Access &access) {
    bool shared = shadow.array->memory != global_memory;
    bool both_atomic = access.what == updates && was_atomic(cell.written);
    if (!both_atomic && !is_before(cell.written, shared))
        report_race(*shadow.array, access, writes, cell.written, cell.written_by);
    if (shared && epoch_of(cell.written) < epoch_of_block && !unwritten.array)
        unwritten = {shadow.array, access, current};
    if (access.what != reads) return;
    int slot = 0;
    while (slot < 2 && !is_before(cell.read[slot], shared)) slot++;
    if (slot == 2) {
        bool one_epoch = epoch_of(cell.read[0]) == epoch && epoch_of(cell.read[1]) == epoch;
        bool one_warp = one_epoch && thread_of(cell.read[0]) / 32 == thread_of(cell.read[1]) / 32;
        bool own_warp = one_warp && thread_of(cell.read[0]) / 32 == current->number / 32;
        cell.settled = own_warp ? now_for_warp() : (When)epoch << 32 | from_many;
        // The lanes of one warp can still come in order: a reader of another takes the place of one of them.
        if (own_warp || !one_warp) return;
        slot = 1;
    }
    cell.read[slot] = current->now, cell.read_by[slot] = offset_in_library(access.code);
}

static void check_write(const Shadow &shadow, Cell &cell, const Access &access) {
    bool shared = shadow.array->memory != global_memory;
    bool both_atomic = access.what == updates && was_atomic(cell.written);
    if (!both_atomic && !is_before(cell.written, shared))
        report_race(*shadow.array, access, writes, cell.written, cell.written_by);
    for (int slot = 0; slot < 2; slot++)
        if (!is_before(cell.read[slot], shared))
            report_race(*shadow.array, access, reads, cell.read[slot], cell.read_by[slot]);
    cell.read[0] = cell.read[1] = 0; // they are before this write
    cell.written = current->now | (access.what == updates ? atomically : 0);
    cell.written_by = offset_in_library(access.code);
    cell.settled = 0;
}

void check_unwritten() {
    if (!unwritten.array) return;
    current = unwritten.thread;
    report_uninitialised(*unwritten.array, unwritten.access);
}

// The runtime's and the compiler's own data, and the stack of the scheduler.
static bool is_no_array(const char *address) {
    return (is_in_library(address) && !is_static_shared(address)) ||
           (size_t)(address - (char *)__builtin_frame_address(0)) < 64 << 10;
}

void check(const Access &access) {
    if (!in_fiber || is_own_memory(access.address)) return;
    if (accesses_in_this_turn > most_in_a_turn) check_unwritten(), report_endless(access);
    Shadow *&shadow = guess_at(access.code);
    size_t offset = access.address - shadow->array->start;
    if (offset >= shadow->array->size || access.size > shadow->array->size - offset) {
        Shadow *found = shadow_of(access);
        if (!found && !is_no_array(access.address)) check_unwritten(), report_outside(access);
        if (!found) return;
        shadow = found, offset = access.address - shadow->array->start;
    }
    if (access.what != reads && shadow->array->constant) report_constant(*shadow->array, access);
    if (launch->event_limit) trace_access(access, shadow->array - launch->arrays, offset);
    unsigned finest = __builtin_ctzl(access.size | offset | 16);
    if (finest < shadow->shift) refine(*shadow, finest);
    Cell *cell = &shadow->cells[offset >> shadow->shift];
    Cell *end = &shadow->cells[(offset + access.size - 1) >> shadow->shift] + 1;
    for (; cell < end; cell++) {
        if (access.what != writes) check_read(*shadow, *cell, access);
        if (access.what != reads) check_write(*shadow, *cell, access);
    }
}

void atomic(void *address, size_t size, const void *code) { check({updates, (char *)address, size, code}); }

} // namespace cuda_on_cpu
