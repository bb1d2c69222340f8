// How the threads of one block take turns: each is a fiber, which runs until it waits for others or returns.
#pragma once
#include <setjmp.h>
#include <stddef.h>

#include <vector>

namespace cuda_on_cpu {

struct Index {
    unsigned x, y, z;
};

struct Place {
    const char *file;
    int line;
};

enum State { ready, at_barrier, at_collective, finished, failed };

// Called once all lanes of a warp have arrived at the same operation: requests[lane] is null for lanes without a part.
typedef void (*Complete)(void **requests);

// A copy that goes on while the thread does: see cuda_pipeline_primitives.h.
struct Copy {
    void *to;
    const void *from;
    size_t bytes, batch;
};

struct Thread {
    Index index;
    int number, lane;
    State state;
    Place place;           // where it waits
    const char *operation; // what it waits in: its name
    unsigned mask;         // the lanes that take part
    void *request;
    Complete complete;
    int synced_with_warp; // how often it took part in an operation of its warp since the last barrier
    jmp_buf context;
    char *stack;
    std::vector<Copy> copies; // asynchronous ones that it began and has not waited for
    size_t batches;           // of them, so far
};

extern Thread *current;
extern Index block_index, block_size, grid_size;

void barrier(Place place);
void collective(const char *operation, unsigned mask, void *request, Complete complete, Place place);
void *dynamic_shared();
int order_of_turns(); // of this launch

// Ends the launch with a message that names block, thread and place: what a thread did is forbidden.
[[noreturn]] void fail(Place place, const char *format, ...) __attribute__((format(printf, 2, 3)));

} // namespace cuda_on_cpu
