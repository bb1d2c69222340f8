// A stand-in for CUDA's cuda_pipeline_primitives.h: copies to shared memory that go on while the thread does.
//
// Here a copy is made when its thread waits for it, and not before: a kernel that forgets to wait reads poison.
#pragma once
#include <stdint.h>

#include "blocks.h"

inline void __pipeline_memcpy_async(void *to, const void *from, size_t bytes, const char *file = __builtin_FILE(),
                                    int line = __builtin_LINE()) {
    if (bytes != 4 && bytes != 8 && bytes != 16)
        cuda_on_cpu::fail({file, line}, "__pipeline_memcpy_async copies 4, 8 or 16 bytes, not %zu", bytes);
    if ((uintptr_t)to % bytes || (uintptr_t)from % bytes)
        cuda_on_cpu::fail({file, line}, "__pipeline_memcpy_async: an address is no multiple of %zu bytes", bytes);
    cuda_on_cpu::begin_copy(to, from, bytes);
}

inline void __pipeline_commit() { cuda_on_cpu::end_batch_of_copies(); }

// Waits until at most the last `prior` batches are still under way.
inline void __pipeline_wait_prior(size_t prior) { cuda_on_cpu::wait_for_copies(prior); }
