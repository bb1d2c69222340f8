// Moments in the lives of the threads, and which of them come before which in every order of turns.
//
// Barriers and the beginnings of blocks divide time into epochs. Within an epoch only __syncwarp puts lanes in order:
// each thread knows how many of them it has heard that each lane of its warp has done.
#pragma once
#include "blocks.h"

namespace cuda_on_cpu {

// A moment of a thread, in one word: the epoch, the __syncwarps that it had done in it, whether what it did then
// was atomic, its number. Zero is before everything.
typedef uint64_t When;

const unsigned most_syncs = 0xfffff;
const When atomically = 1 << 10;

inline uint32_t epoch_of(When when) { return when >> 32; }
inline unsigned syncs_of(When when) { return when >> 12 & most_syncs; }
inline bool was_atomic(When when) { return when & atomically; }
inline int thread_of(When when) { return when & 1023; }

void begin_launch_of_moments();
void begin_block_of_moments(size_t number);
void meet_at_barrier();                          // all threads of the block
void meet_in_warp(Thread *warp, unsigned lanes); // these lanes

// The number of the block that ran in an epoch of this launch.
size_t block_in(uint32_t epoch);

extern uint32_t epoch, epoch_of_launch, epoch_of_block, epoch_of_fence;

// Whether what was done then, in shared or in global memory, is sure to come before what the current thread does now.
inline bool is_before(When then, bool shared) {
    uint32_t then_epoch = epoch_of(then);
    if (then_epoch < (shared ? epoch_of_block : epoch_of_launch)) return true; // shared memory is new for each block
    if (then_epoch < epoch_of_block) return then_epoch <= epoch_of_fence;
    if (then_epoch != epoch || thread_of(then) == current->number) return true;
    if (thread_of(then) / 32 != current->number / 32) return false;
    return current->heard[thread_of(then) % 32] > syncs_of(then) || syncs_of(then) == most_syncs;
}

} // namespace cuda_on_cpu
