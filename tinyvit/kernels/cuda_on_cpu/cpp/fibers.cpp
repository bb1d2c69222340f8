#include "fibers.h"

#include <sys/mman.h>
#include <ucontext.h>

#include "launch.h"

namespace cuda_on_cpu {

const size_t stack_size = 256 << 10, guard_size = 64 << 10; // a guard as large as a page can be
const size_t threads_size = ((sizeof(Thread) * most_threads) / guard_size + 1) * guard_size;
const size_t fiber_memory_size = threads_size + most_threads * (guard_size + stack_size);

Thread *current, *threads;
char *fiber_memory;
bool in_fiber;

static int made; // fibers that can run
static Kernel kernel;
static void **arguments;
static jmp_buf scheduler;
static ucontext_t scheduler_start, abandoned;

static char *guard_of(int number) { return fiber_memory + threads_size + number * (guard_size + stack_size); }

Thread *overflowed(const void *address) {
    if (!is_own_memory(address) || address < guard_of(0)) return 0;
    size_t offset = (char *)address - guard_of(0), step = guard_size + stack_size;
    return offset % step < guard_size ? threads + offset / step : 0;
}

static void run_in_fiber() {
    if (!_setjmp(current->context)) swapcontext(&abandoned, &scheduler_start);
    for (;;) {
        kernel(arguments);
        wait(finished);
    }
}

static void make_fiber(Thread &thread) {
    char *stack = guard_of(thread.number) + guard_size;
    mprotect(stack, stack_size, PROT_READ | PROT_WRITE);
    ucontext_t start;
    getcontext(&start);
    start.uc_stack.ss_sp = stack;
    start.uc_stack.ss_size = stack_size;
    start.uc_link = 0;
    makecontext(&start, run_in_fiber, 0);
    current = &thread;
    swapcontext(&scheduler_start, &start); // once; from then on the cheaper _setjmp and _longjmp
}

void prepare_fibers(int count, Kernel given_kernel, void **given_arguments) {
    kernel = given_kernel, arguments = given_arguments;
    if (!fiber_memory) {
        int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        fiber_memory = (char *)mmap(0, fiber_memory_size, PROT_NONE, kind, -1, 0);
        mprotect(fiber_memory, threads_size, PROT_READ | PROT_WRITE);
        threads = (Thread *)fiber_memory;
    }
    for (; made < count; made++) {
        threads[made].number = made, threads[made].lane = made % 32;
        make_fiber(threads[made]);
    }
}

bool guarded(void (*work)(void *), void *data) {
    in_fiber = true;
    bool failed = _setjmp(scheduler);
    if (!failed) work(data);
    in_fiber = false;
    return !failed;
}

bool resume(Thread &thread) {
    current = &thread, in_fiber = true;
    if (!_setjmp(scheduler)) _longjmp(thread.context, 1);
    in_fiber = false;
    return !launch->message[0];
}

void wait(State state) {
    current->state = state;
    if (!_setjmp(current->context)) _longjmp(scheduler, 1);
}

void drop_fibers() { made = 0; }

// Each stack and each guard is a mapping of its own, and a process may have 65,530: a hundred libraries that keep theirs
// would take them all.
extern "C" __attribute__((visibility("default"))) void cuda_on_cpu_release() {
    if (fiber_memory) munmap(fiber_memory, fiber_memory_size);
    fiber_memory = 0, threads = 0, made = 0;
}

void leave() {
    drop_fibers();
    _longjmp(scheduler, 1);
}

} // namespace cuda_on_cpu
