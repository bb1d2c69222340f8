#include "moments.h"

#include <string.h>

#include <algorithm>
#include <vector>

#include "fibers.h"
#include "launch.h"

namespace cuda_on_cpu {

uint32_t epoch, epoch_of_launch, epoch_of_block, epoch_of_fence; // an epoch's number is never used again

static std::vector<uint32_t> first_epochs; // of the blocks that this launch has run
static std::vector<size_t> blocks;         // their numbers

static void set_now(Thread &thread) {
    thread.now = (When)epoch << 32 | (When)thread.heard[thread.lane] << 12 | thread.number;
}

void begin_launch_of_moments() {
    epoch_of_launch = epoch + 1, epoch_of_fence = 0;
    first_epochs.clear(), blocks.clear();
}

void begin_block_of_moments(size_t number) {
    meet_at_barrier();
    epoch_of_block = epoch;
    first_epochs.push_back(epoch), blocks.push_back(number);
}

void meet_at_barrier() {
    epoch++;
    for (int i = 0; i < thread_count(); i++) {
        memset(threads[i].heard, 0, sizeof threads[i].heard);
        set_now(threads[i]);
    }
}

void meet_in_warp(Thread *warp, unsigned lanes) {
    unsigned heard[32] = {};
    for (int lane = 0; lane < 32; lane++) {
        if (!(lanes >> lane & 1)) continue;
        unsigned &own = warp[lane].heard[lane];
        own = std::min(own + 1, most_syncs);
        for (int i = 0; i < 32; i++) heard[i] = std::max(heard[i], warp[lane].heard[i]);
    }
    for (int lane = 0; lane < 32; lane++) {
        if (!(lanes >> lane & 1)) continue;
        memcpy(warp[lane].heard, heard, sizeof heard);
        set_now(warp[lane]);
    }
}

// Blocks hand results to each other by a write, a __threadfence and an atomic operation, and an atomic operation and a
// read on the other side. Whoever fences is trusted to do the rest.
void fence() { epoch_of_fence = epoch; }

size_t block_in(uint32_t in_epoch) {
    return blocks[std::upper_bound(first_epochs.begin(), first_epochs.end(), in_epoch) - first_epochs.begin() - 1];
}

} // namespace cuda_on_cpu
