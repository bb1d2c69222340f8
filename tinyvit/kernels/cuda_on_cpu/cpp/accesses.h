// Watches each read and write of memory that more than one thread can see.
//
// The compiler instruments the kernels for a thread sanitizer: before each such access they call a function with its
// address. Here those functions are ours. They know the arrays that the kernel was given and, of each element, who wrote
// and who read it last: enough to tell what is out of bounds, not initialised, or a race.
#pragma once
#include "launch.h"

namespace cuda_on_cpu {

struct Access {
    What what;
    char *address;
    size_t size;
    const void *code; // where in the library it is made
};

void begin_launch_of_accesses();
void begin_turn_of_accesses();
void check(const Access &access);
void check_unwritten(); // reports what was read of shared memory that nobody had written

void forget_copies(); // of the block before

} // namespace cuda_on_cpu
