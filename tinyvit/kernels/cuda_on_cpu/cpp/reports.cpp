#include "reports.h"

#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fibers.h"

// The static shared arrays of the kernels, one after the other.
extern "C" char __start_cuda_shared[] __attribute__((weak)), __stop_cuda_shared[] __attribute__((weak));

namespace cuda_on_cpu {

static char *library, *library_end, *library_base; // offsets count from the base

static int find_library(dl_phdr_info *info, size_t, void *) {
    char *start = (char *)-1, *end = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        char *segment = (char *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        start = segment < start ? segment : start;
        end = segment + info->dlpi_phdr[i].p_memsz > end ? segment + info->dlpi_phdr[i].p_memsz : end;
    }
    if ((char *)&library < start || (char *)&library >= end) return 0;
    library = start, library_end = end, library_base = (char *)info->dlpi_addr;
    return 1;
}

static int found = dl_iterate_phdr(find_library, 0);

extern "C" __attribute__((visibility("default"))) void *cuda_on_cpu_base() { return library_base; }

bool is_in_library(const void *address) { return address >= library && address < library_end; }
bool is_static_shared(const void *address) { return address >= __start_cuda_shared && address < __stop_cuda_shared; }
uint32_t offset_in_library(const void *code) { return (char *)code - library_base; }

// Adds to the message, as printf does.
static void add_values(const char *format, va_list values) {
    size_t length = strlen(launch->message);
    vsnprintf(launch->message + length, sizeof launch->message - length, format, values);
}

static void add(const char *format, ...) {
    va_list values;
    va_start(values, format);
    add_values(format, values);
    va_end(values);
}

static void add_index(const char *name, Index index) { add("%s (%u, %u, %u)", name, index.x, index.y, index.z); }

static void add_code(uint32_t offset) { add("<+%x>", offset); } // Python knows the line

// The element at an address, counted from the array's start, before which it may lie.
static void add_element(const Array &array, const char *address) {
    ptrdiff_t offset = address - array.start, size = array.item_size;
    add("element %td of %s", offset >= 0 ? offset / size : -((size - 1 - offset) / size), array.name);
}

// "block (0, 0, 0), thread (5, 0, 0) reads at layer_norm.cu:31 "
static void add_access(const Access &access) {
    static const char *const verbs[] = {"reads", "writes", "updates"};
    add_index("block", block_index());
    add_index(", thread", current->index);
    add(" %s at ", verbs[access.what]);
    add_code(offset_in_library(access.code));
    add(" ");
}

void report_race(const Array &array, const Access &now, What what, When then, uint32_t then_by) {
    bool same_block = epoch_of(then) >= epoch_of_block;
    Index thread = index_in(thread_of(then), block_size());
    add("race in %s memory: ", array.memory == global_memory ? "global" : "shared");
    add_access(now);
    add_element(array, now.address);
    if (same_block) {
        add_index(", which thread", thread);
    } else {
        add_index(", which block", index_in(block_in(epoch_of(then)), grid_size()));
        add_index(", thread", thread);
    }
    add(what == reads ? " read at " : was_atomic(then) ? " updated at " : " wrote at ");
    add_code(then_by);
    bool same_warp = thread_of(then) / 32 == current->number / 32;
    add(!same_block ? ": blocks run in any order"
        : same_warp ? ", with no __syncthreads or __syncwarp between"
                    : ", with no __syncthreads between");
    leave();
}

void report_uninitialised(const Array &array, const Access &access) {
    add_access(access);
    add_element(array, access.address);
    add(": shared memory that no thread of the block has written");
    leave();
}

void report_constant(const Array &array, const Access &access) {
    add_access(access);
    add_element(array, access.address);
    add(", which is const");
    leave();
}

static size_t distance(const Array &array, const char *address) {
    return address < array.start ? array.start - address : address - (array.start + array.size);
}

void report_outside(const Access &access) {
    const Array *nearest = 0;
    for (const Array *array = launch->arrays; array < launch->arrays + launch->array_count; array++)
        if (!nearest || distance(*array, access.address) < distance(*nearest, access.address)) nearest = array;
    add_access(access);
    if ((size_t)access.address < 1 << 20) {
        add("address %p: the pointer is null", access.address);
    } else if (!nearest || distance(*nearest, access.address) > 1 << 28) {
        add("address %p, which is far from all arrays", access.address);
    } else {
        add_element(*nearest, access.address);
        add(", which has %zu", nearest->size / nearest->item_size);
        if (nearest->memory == dynamic_shared_memory) add(": the launch asked for %zu bytes", nearest->size);
    }
    leave();
}

void report_endless(const Access &access) {
    add_access(access);
    add("and has made millions of accesses without waiting: if it loops until another thread has done something, that "
        "one never has a turn");
    leave();
}

void report(const void *code, const char *format, ...) {
    add_index("block", block_index());
    add_index(", thread", current->index);
    add(" at ");
    add_code(offset_in_library(code));
    add(": ");
    va_list values;
    va_start(values, format);
    add_values(format, values);
    va_end(values);
    leave();
}

void fail(Place place, const char *format, ...) {
    add_index("block", block_index());
    add_index(", thread", current->index);
    add(" at %s:%d: ", place.file, place.line);
    va_list values;
    va_start(values, format);
    add_values(format, values);
    va_end(values);
    leave();
}

} // namespace cuda_on_cpu
