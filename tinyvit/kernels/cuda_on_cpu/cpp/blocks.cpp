// The scheduler: runs the blocks of a launch one after the other, and the threads of a block in turns.
#include "blocks.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <random>
#include <vector>

// The static shared arrays of the kernels, one after the other.
extern "C" char __start_cuda_shared[] __attribute__((weak)), __stop_cuda_shared[] __attribute__((weak));

namespace cuda_on_cpu {

Thread *current;
Index block_index, block_size, grid_size;

typedef void (*Kernel)(void **arguments);

// What Python hands over and gets back; module.py declares the same.
struct Launch {
    Index grid, block;
    size_t dynamic_shared_size;
    void *dynamic_shared;
    int order; // 0: threads and blocks in order; 1: the last first; others: shuffled with this seed
    char message[1000];
};

const size_t stack_size = 256 << 10;

static std::vector<Thread> threads;
static Launch *launch;
static Kernel kernel;
static void **arguments;
static jmp_buf scheduler;
static ucontext_t scheduler_start;

static void run_in_fiber() {
    for (;;) {
        kernel(arguments);
        current->state = finished;
        if (!_setjmp(current->context)) _longjmp(scheduler, 1);
    }
}

static void make_fiber(Thread &thread) {
    if (!thread.stack)
        thread.stack = (char *)mmap(0, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ucontext_t start;
    getcontext(&start);
    start.uc_stack.ss_sp = thread.stack;
    start.uc_stack.ss_size = stack_size;
    start.uc_link = 0;
    makecontext(&start, [] {
        if (!_setjmp(current->context)) swapcontext(new ucontext_t, &scheduler_start);
        run_in_fiber();
    }, 0);
    current = &thread;
    swapcontext(&scheduler_start, &start);
}

static void resume(Thread &thread) {
    current = &thread;
    if (!_setjmp(scheduler)) _longjmp(thread.context, 1);
}

static void wait(State state) {
    current->state = state;
    if (!_setjmp(current->context)) _longjmp(scheduler, 1);
}

void barrier(Place place) {
    current->operation = "__syncthreads";
    current->place = place;
    wait(at_barrier);
}

void collective(const char *operation, unsigned mask, void *request, Complete complete, Place place) {
    current->operation = operation;
    current->mask = mask;
    current->request = request;
    current->complete = complete;
    current->place = place;
    wait(at_collective);
}

void *dynamic_shared() { return launch->dynamic_shared; }

int order_of_turns() { return launch->order; }

void fail(Place place, const char *format, ...) {
    char *text = launch->message;
    size_t size = sizeof launch->message;
    Index thread = current->index;
    int length = snprintf(text, size, "block (%u, %u, %u), thread (%u, %u, %u) at %s:%d: ", block_index.x, block_index.y,
                          block_index.z, thread.x, thread.y, thread.z, place.file, place.line);
    va_list values;
    va_start(values, format);
    vsnprintf(text + length, size - length, format, values);
    va_end(values);
    current->state = failed;
    _longjmp(scheduler, 1);
}

static bool same(Place a, Place b) { return a.line == b.line && !strcmp(a.file, b.file); }

// Lets a warp go on where all lanes that its first waiting lane names have arrived at the same operation.
static bool release_warp(Thread *warp, int lanes) {
    bool released = false;
    for (int first = 0; first < lanes; first++) {
        if (warp[first].state != at_collective) continue;
        unsigned mask = warp[first].mask;
        void *requests[32] = {};
        bool complete = mask >> first & 1;
        for (int lane = 0; lane < 32 && complete; lane++) {
            if (!(mask >> lane & 1)) continue;
            complete = lane < lanes && warp[lane].state == at_collective && warp[lane].mask == mask &&
                       same(warp[lane].place, warp[first].place) && warp[lane].complete == warp[first].complete;
            if (complete) requests[lane] = warp[lane].request;
        }
        if (!complete) continue;
        warp[first].complete(requests);
        for (int lane = 0; lane < lanes; lane++)
            if (requests[lane]) {
                warp[lane].state = ready;
                warp[lane].synced_with_warp++;
            }
        released = true;
    }
    return released;
}

static bool release_barrier() {
    for (Thread &thread : threads)
        if (thread.state != at_barrier || !same(thread.place, threads[0].place)) return false;
    for (Thread &thread : threads) {
        thread.state = ready;
        thread.synced_with_warp = 0;
    }
    return true;
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
    for (const Thread &thread : threads)
        if (thread.state != finished) {
            waiting = &thread;
            if (thread.state == at_collective) break;
        }
    for (const Thread &thread : threads) {
        bool awaited = waiting->state == at_barrier ||
                       (thread.number / 32 == waiting->number / 32 && waiting->mask >> thread.lane & 1);
        bool there = thread.state == waiting->state && same(thread.place, waiting->place) &&
                     (thread.state == at_barrier || thread.mask == waiting->mask);
        if (awaited && !there) missing = &thread;
    }
    char *text = launch->message;
    size_t size = sizeof launch->message;
    int length = snprintf(text, size, "block (%u, %u, %u): divergent %s: ", block_index.x, block_index.y,
                          block_index.z, waiting->operation);
    length += describe(text + length, size - length, *waiting);
    if (missing) {
        length += snprintf(text + length, size - length, ", but ");
        describe(text + length, size - length, *missing);
    } else {
        snprintf(text + length, size - length, ", for lanes that the block does not have or that is not itself one of");
    }
}

static bool run_block(std::mt19937 &random) {
    if (__start_cuda_shared) memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);
    memset(launch->dynamic_shared, 0xff, launch->dynamic_shared_size);
    std::vector<int> order(threads.size());
    for (size_t i = 0; i < order.size(); i++) order[i] = launch->order == 1 ? order.size() - 1 - i : i;
    for (Thread &thread : threads) {
        thread.state = ready, thread.synced_with_warp = 0;
        thread.copies.clear(), thread.batches = 0;
    }
    for (;;) {
        if (launch->order > 1) std::shuffle(order.begin(), order.end(), random);
        size_t done = 0;
        for (int number : order) {
            if (threads[number].state == ready) resume(threads[number]);
            if (threads[number].state == failed) return false;
            done += threads[number].state == finished;
        }
        if (done == order.size()) return true;
        bool released = false;
        for (size_t first = 0; first < threads.size(); first += 32)
            released |= release_warp(&threads[first], std::min<int>(32, threads.size() - first));
        if (!released && !release_barrier()) {
            report_stuck();
            return false;
        }
    }
}

// Called by the generated launchers. Returns 0, or 1 with launch->message set.
extern "C" int cuda_on_cpu_run(Launch *given, Kernel given_kernel, void **given_arguments) {
    launch = given, kernel = given_kernel, arguments = given_arguments;
    grid_size = launch->grid, block_size = launch->block;
    size_t count = (size_t)block_size.x * block_size.y * block_size.z;
    size_t before = threads.size();
    for (size_t i = count; i < before; i++) munmap(threads[i].stack, stack_size);
    threads.resize(count);
    for (size_t i = 0; i < count; i++) {
        Thread &thread = threads[i];
        thread.number = i, thread.lane = i % 32;
        thread.index = {(unsigned)(i % block_size.x), (unsigned)(i / block_size.x % block_size.y),
                        (unsigned)(i / block_size.x / block_size.y)};
        make_fiber(thread);
    }
    std::mt19937 random(launch->order);
    std::vector<size_t> blocks((size_t)grid_size.x * grid_size.y * grid_size.z);
    for (size_t i = 0; i < blocks.size(); i++) blocks[i] = launch->order == 1 ? blocks.size() - 1 - i : i;
    if (launch->order > 1) std::shuffle(blocks.begin(), blocks.end(), random);
    for (size_t number : blocks) {
        block_index = {(unsigned)(number % grid_size.x), (unsigned)(number / grid_size.x % grid_size.y),
                       (unsigned)(number / grid_size.x / grid_size.y)};
        if (!run_block(random)) return 1;
    }
    return 0;
}

} // namespace cuda_on_cpu
