// The scheduler: runs the blocks of a launch one after the other, and the threads of a block in turns.
#include "blocks.h"

#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <random>
#include <vector>

#include "accesses.h"
#include "faults.h"
#include "fibers.h"
#include "moments.h"
#include "trace.h"

namespace cuda_on_cpu {

Launch *launch;

static Index block;

Index thread_index() { return current->index; }
int lane_index() { return current->lane; }
Index block_index() { return block; }
Index block_size() { return launch->block; }
Index grid_size() { return launch->grid; }
void *dynamic_shared() { return launch->dynamic_shared; }
int order_of_turns() { return launch->order; }

static void wait_in(const char *operation, State state, Place place) {
    current->operation = operation;
    current->place = place;
    if (launch->event_limit) trace_wait(place, operation);
    wait(state);
}

void barrier(Place place) { wait_in("__syncthreads", at_barrier, place); }

void collective(const char *operation, unsigned mask, void *request, Complete complete, Place place, bool in_order) {
    current->in_order = in_order;
    current->mask = mask;
    current->request = request;
    current->complete = complete;
    wait_in(operation, at_collective, place);
}

static bool same(Place a, Place b) { return a.line == b.line && (a.file == b.file || !strcmp(a.file, b.file)); }

// Lets a warp go on where all lanes that its first waiting lane names have arrived at the same operation.
static bool release_warp(Thread *warp, int lanes) {
    bool released = false;
    for (int first = 0; first < lanes; first++) {
        if (warp[first].state != at_collective) continue;
        unsigned mask = warp[first].mask;
        static void *requests[32];
        bool complete = mask >> first & 1;
        for (int lane = 0; lane < 32 && complete; lane++) {
            requests[lane] = 0;
            if (!(mask >> lane & 1)) continue;
            complete = lane < lanes && warp[lane].state == at_collective && warp[lane].mask == mask &&
                       same(warp[lane].place, warp[first].place) && warp[lane].complete == warp[first].complete;
            if (complete) requests[lane] = warp[lane].request;
        }
        if (!complete) continue;
        current = &warp[first];
        auto complete_all = [](void *complete) { ((Complete)complete)(requests); };
        if (!guarded(complete_all, (void *)warp[first].complete)) return false;
        if (warp[first].in_order) meet_in_warp(warp, mask);
        for (int lane = 0; lane < lanes; lane++)
            if (requests[lane]) warp[lane].state = ready;
        released = true;
    }
    return released;
}

static bool release_barrier() {
    for (int i = 0; i < thread_count(); i++)
        if (threads[i].state != at_barrier || !same(threads[i].place, threads[0].place)) return false;
    for (int i = 0; i < thread_count(); i++) threads[i].state = ready;
    meet_at_barrier();
    return true;
}

// What must be over when all threads have met, or have finished.
static bool is_settled() {
    return guarded([](void *) { check_unwritten(); }, 0);
}

static int describe(char *text, size_t size, const Thread &thread) {
    int length = snprintf(text, size, "thread (%u, %u, %u) ", thread.index.x, thread.index.y, thread.index.z);
    if (thread.state == finished)
        return length + snprintf(text + length, size - length, "has left the kernel");
    return length + snprintf(text + length, size - length, "waits in %s at %s:%d", thread.operation,
                             thread.place.file, thread.place.line);
}

// No thread can go on: name one that waits and one that it waits for.
static void report_stuck() {
    const Thread *waiting = 0, *missing = 0;
    for (const Thread *thread = threads; thread < threads + thread_count(); thread++)
        if (thread->state != finished) {
            waiting = thread;
            if (thread->state == at_collective) break;
        }
    for (const Thread *thread = threads; thread < threads + thread_count(); thread++) {
        bool awaited = waiting->state == at_barrier ||
                       (thread->number / 32 == waiting->number / 32 && waiting->mask >> thread->lane & 1);
        bool there = thread->state == waiting->state && same(thread->place, waiting->place) &&
                     (thread->state == at_barrier || thread->mask == waiting->mask);
        if (awaited && !there) missing = thread;
    }
    drop_fibers();
    char *text = launch->message;
    size_t size = sizeof launch->message;
    int length = snprintf(text, size, "block (%u, %u, %u): divergent %s: ", block.x, block.y, block.z,
                          waiting->operation);
    length += describe(text + length, size - length, *waiting);
    if (missing) {
        length += snprintf(text + length, size - length, ", but ");
        describe(text + length, size - length, *missing);
    } else {
        snprintf(text + length, size - length, ", for lanes that the block does not have or that is not itself one of");
    }
}

static bool run_block(std::mt19937 &random) {
    for (Array *array = launch->arrays; array < launch->arrays + launch->array_count; array++)
        if (array->memory != global_memory) memset(array->start, 0xff, array->size); // NaN: a poison
    std::vector<int> order(thread_count());
    for (size_t i = 0; i < order.size(); i++) order[i] = launch->order == 1 ? order.size() - 1 - i : i;
    for (int i = 0; i < thread_count(); i++) threads[i].state = ready;
    forget_copies();
    for (;;) {
        if (launch->order > 1) std::shuffle(order.begin(), order.end(), random);
        size_t done = 0;
        for (int number : order) {
            if (threads[number].state == ready) {
                begin_turn_of_accesses();
                if (!resume(threads[number])) return false;
            }
            done += threads[number].state == finished;
        }
        if (done == order.size()) return is_settled();
        bool released = false;
        for (int first = 0; first < thread_count(); first += 32)
            released |= release_warp(&threads[first], std::min(32, thread_count() - first));
        if (launch->message[0]) return false;
        if (released) continue;
        if (!is_settled()) return false;
        if (!release_barrier()) {
            report_stuck();
            return false;
        }
    }
}

Index index_in(size_t number, Index size) {
    return {(unsigned)(number % size.x), (unsigned)(number / size.x % size.y), (unsigned)(number / size.x / size.y)};
}

static void run_blocks() {
    std::mt19937 random(launch->order);
    std::vector<size_t> blocks((size_t)launch->grid.x * launch->grid.y * launch->grid.z);
    for (size_t i = 0; i < blocks.size(); i++) blocks[i] = launch->order == 1 ? blocks.size() - 1 - i : i;
    if (launch->order > 1) std::shuffle(blocks.begin(), blocks.end(), random);
    for (size_t number : blocks) {
        block = index_in(number, launch->grid);
        begin_block_of_moments(number);
        if (!run_block(random)) return;
    }
}

// Called by the generated launchers. Returns 0, or 1 with launch->message set.
extern "C" int cuda_on_cpu_run(Launch *given, Kernel kernel, void **arguments) {
    launch = given;
    prepare_fibers(thread_count(), kernel, arguments);
    for (int i = 0; i < thread_count(); i++) threads[i].index = index_in(i, launch->block);
    begin_launch_of_moments();
    begin_launch_of_accesses();
    catch_faults();
    run_blocks();
    stop_catching_faults();
    end_trace();
    return launch->message[0] != 0;
}

} // namespace cuda_on_cpu
