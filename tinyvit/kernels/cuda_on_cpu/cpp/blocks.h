// How the threads of one block take turns: each is a fiber, which runs until it waits for others or returns.
#pragma once
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

namespace cuda_on_cpu {

struct Index {
    unsigned x, y, z;
};

struct Place {
    const char *file;
    int line;
};

enum State { ready, at_barrier, at_collective, finished };

// Called once all lanes of a warp have arrived at the same operation: requests[lane] is null for lanes without a part.
typedef void (*Complete)(void **requests);

struct Thread {
    Index index;
    int number, lane;
    State state;
    Place place;           // where it waits
    const char *operation; // what it waits in: its name
    unsigned mask;         // the lanes that take part
    void *request;
    Complete complete;
    bool in_order; // whether the operation also puts the accesses of its lanes to memory in order
    // How many __syncwarps, since the last barrier, each lane had done when this thread last heard of it: what a lane did
    // before them, this thread may rely on.
    unsigned heard[32];
    uint64_t now; // the moment in its life, as accesses.cpp counts
    jmp_buf context;
};

extern Thread *current;

// In the grid or the block, of the number of a block or a thread.
Index index_in(size_t number, Index size);

// The fiber's kernel sees one thread and one block, so that the compiler may keep what these return.
Index thread_index() __attribute__((const));
int lane_index() __attribute__((const));
Index block_index() __attribute__((const));
Index block_size() __attribute__((const));
Index grid_size() __attribute__((const));

void barrier(Place place);
// Of the operations of a warp only __syncwarp puts accesses to memory in order.
void collective(const char *operation, unsigned mask, void *request, Complete complete, Place place,
                bool in_order = false);
void atomic(void *address, size_t size, const void *code); // what comes next is an atomic operation
void fence();
void begin_copy(void *to, const void *from, size_t bytes); // asynchronous: see copies.cpp
void end_batch_of_copies();
void wait_for_copies(size_t batches_left);
void *dynamic_shared();
int order_of_turns(); // of this launch

// Ends the launch with a message that names block, thread and place: what a thread did is forbidden.
[[noreturn]] void fail(Place place, const char *format, ...) __attribute__((format(printf, 2, 3)));

} // namespace cuda_on_cpu
