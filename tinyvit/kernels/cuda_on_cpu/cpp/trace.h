// A list of what the threads of one block do, for readers.
#pragma once
#include "accesses.h"

namespace cuda_on_cpu {

void trace_access(const Access &access, int array, size_t offset);
void trace_wait(Place place, const char *operation);
void end_trace();

} // namespace cuda_on_cpu
