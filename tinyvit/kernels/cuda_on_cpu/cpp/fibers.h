// One fiber a thread: a stack of its own, and switches between them and the scheduler.
#pragma once
#include "blocks.h"

namespace cuda_on_cpu {

typedef void (*Kernel)(void **arguments);

const int most_threads = 1024;

extern Thread *threads; // of the block: most_threads of them, then their stacks

// Makes sure that there are fibers for `count` threads, each about to start the kernel.
void prepare_fibers(int count, Kernel kernel, void **arguments);

// Runs a fiber until it waits or has finished; false: it failed, and all fibers must be made anew.
bool resume(Thread &thread);

// Runs what belongs to no fiber, but may fail as one.
bool guarded(void (*work)(void *), void *data);

void wait(State state);

// Leaves the fiber for good: launch->message says why. No fiber can go on after that, and drop_fibers says so, too.
[[noreturn]] void leave();
void drop_fibers();

extern bool in_fiber; // or in guarded work

// The memory of threads and stacks.
extern char *fiber_memory;
extern const size_t fiber_memory_size;
inline bool is_own_memory(const void *address) { return (size_t)((char *)address - fiber_memory) < fiber_memory_size; }

// The thread whose stack has overflowed at that address, or null.
Thread *overflowed(const void *address);

inline int thread_count() { return block_size().x * block_size().y * block_size().z; }

} // namespace cuda_on_cpu
