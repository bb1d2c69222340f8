#include "trace.h"

#include <string.h>

#include <algorithm>

#include "reports.h"

namespace cuda_on_cpu {

// A write that was about to be made, and where: by the time of the next one it has been.
static Event *unfinished;
static const char *written;

static Event *next_event() {
    Index block = block_index();
    bool traced = block.x == launch->traced.x && block.y == launch->traced.y && block.z == launch->traced.z;
    return traced && launch->event_count < launch->event_limit ? launch->events + launch->event_count++ : 0;
}

void trace_access(const Access &access, int array, size_t offset) {
    // Of a copy of several numbers the compiler tells first that it will be written, then that it will be read.
    if (access.what != reads) end_trace();
    Event *event = next_event();
    if (!event) return;
    *event = {current->index, access.what, 0, 0, 0, offset_in_library(access.code), array, offset, access.size, {}};
    if (access.what == reads) memcpy(event->value, access.address, std::min(access.size, sizeof event->value));
    else unfinished = event, written = access.address;
}

void trace_wait(Place place, const char *operation) {
    end_trace();
    if (Event *event = next_event())
        *event = {current->index, waits, operation, place.file, place.line, 0, -1, 0, 0, {}};
}

void end_trace() {
    if (unfinished) memcpy(unfinished->value, written, std::min(unfinished->size, sizeof unfinished->value));
    unfinished = 0;
}

} // namespace cuda_on_cpu
