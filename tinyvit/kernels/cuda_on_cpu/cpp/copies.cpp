// Copies to shared memory that go on while the thread does, as cuda_pipeline_primitives.h has them. Here a copy is made
// when its thread waits for it, and not before: a kernel that forgets to wait reads what nobody has written.
#include <string.h>

#include <algorithm>
#include <vector>

#include "accesses.h"
#include "fibers.h"

namespace cuda_on_cpu {

struct Copy {
    char *to, *from;
    size_t bytes, batch;
    const void *code;
};

static std::vector<Copy> copies[most_threads]; // that a thread began and has not waited for
static size_t batches[most_threads];           // of a thread, so far

void begin_copy(void *to, const void *from, size_t bytes) {
    int thread = current->number;
    const void *code = (char *)__builtin_return_address(0) - 1;
    check({reads, (char *)from, bytes, code});
    copies[thread].push_back({(char *)to, (char *)from, bytes, batches[thread], code});
}

void end_batch_of_copies() { batches[current->number]++; }

void wait_for_copies(size_t batches_left) {
    std::vector<Copy> &own = copies[current->number];
    auto is_due = [&](const Copy &copy) { return copy.batch + batches_left < batches[current->number]; };
    for (const Copy &copy : own)
        if (is_due(copy)) {
            check({writes, copy.to, copy.bytes, copy.code});
            memcpy(copy.to, copy.from, copy.bytes);
        }
    own.erase(std::remove_if(own.begin(), own.end(), is_due), own.end());
}

void forget_copies() {
    for (std::vector<Copy> &left : copies) left.clear();
}

} // namespace cuda_on_cpu
