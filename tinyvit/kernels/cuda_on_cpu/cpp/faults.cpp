#include "faults.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "fibers.h"
#include "reports.h"

namespace cuda_on_cpu {

static const size_t stack_size = 64 << 10;
static char *stack; // of the handler: that of a thread may have overflowed
static stack_t stack_before;
static struct sigaction before[2];
static const int signals[2] = {SIGSEGV, SIGBUS};
static thread_local bool catching;

// The code that made the access, and whether it wrote. In a function of the C library, such as memcpy: the return
// address nearest to the top of the stack that lies in the kernels' library.
static const void *code_of(void *context, bool &wrote) {
    const mcontext_t &machine = ((ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
    char *code = (char *)machine.gregs[REG_RIP];
    char **top = (char **)machine.gregs[REG_RSP];
    wrote = machine.gregs[REG_ERR] & 2;
#elif defined(__aarch64__)
    char *code = (char *)machine.pc;
    char **top = (char **)machine.sp;
    if (!is_in_library(code) && is_in_library((void *)machine.regs[30])) return (char *)machine.regs[30] - 1;
#endif
    if (is_in_library(code)) return code;
    for (int i = 0; i < 512; i++)
        if (is_in_library(top[i])) return top[i] - 1;
    return code;
}

static void on_fault(int signal, siginfo_t *info, void *context) {
    if (!catching || !in_fiber) { // none of ours: as if we were not here
        sigaction(signal, &before[signal == SIGBUS], 0);
        return;
    }
    bool wrote = false;
    char *address = (char *)info->si_addr;
    const void *code = code_of(context, wrote);
    if (overflowed(address)) report(code, "the local variables do not fit on the thread's stack");
    report_outside({wrote ? writes : reads, address, 1, code});
}

void catch_faults() {
    if (!stack) stack = (char *)mmap(0, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t own = {};
    own.ss_sp = stack, own.ss_size = stack_size;
    sigaltstack(&own, &stack_before);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER; // it does not return: the signal must not stay blocked
    for (int i = 0; i < 2; i++) sigaction(signals[i], &action, &before[i]);
    catching = true;
}

void stop_catching_faults() {
    catching = false;
    for (int i = 0; i < 2; i++) sigaction(signals[i], &before[i], 0);
    sigaltstack(&stack_before, 0);
}

} // namespace cuda_on_cpu
