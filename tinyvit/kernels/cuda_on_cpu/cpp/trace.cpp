#include "trace.h"

#include <string.h>

#include <algorithm>

#include "reports.h"

namespace cuda_on_cpu {

static const char *written; // what the last event is about to write: it is there when the next event comes

static Event *next_event() {
    end_trace();
    Index block = block_index();
    bool traced = block.x == launch->traced.x && block.y == launch->traced.y && block.z == launch->traced.z;
    return traced && launch->event_count < launch->event_limit ? launch->events + launch->event_count++ : 0;
}

void trace_access(const Access &access, int array, size_t offset) {
    Event *event = next_event();
    if (!event) return;
    *event = {current->index, access.what, 0, 0, 0, offset_in_library(access.code), array, offset, access.size, {}};
    if (access.what == reads) memcpy(event->value, access.address, std::min(access.size, sizeof event->value));
    else written = access.address;
}

void trace_wait(Place place, const char *operation) {
    if (Event *event = next_event()) *event = {current->index, waits, operation, place.file, place.line, 0, -1, 0, 0, {}};
}

void end_trace() {
    if (!written) return;
    Event &last = launch->events[launch->event_count - 1];
    memcpy(last.value, written, std::min(last.size, sizeof last.value));
    written = 0;
}

} // namespace cuda_on_cpu
