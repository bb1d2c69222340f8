// The messages of errors. Each ends the launch.
#pragma once
#include "accesses.h"
#include "moments.h"

namespace cuda_on_cpu {

// A thread does now what does not go together with what another did.
[[noreturn]] void report_race(const Array &array, const Access &now, What what, When then, uint32_t then_by);

[[noreturn]] void report_uninitialised(const Array &array, const Access &access);
[[noreturn]] void report_constant(const Array &array, const Access &access);
[[noreturn]] void report_outside(const Access &access); // of all arrays
[[noreturn]] void report_endless(const Access &access); // it goes on and on, and lets no other thread have a turn

// Any other error, at that code in the library.
[[noreturn]] void report(const void *code, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool is_in_library(const void *address);
bool is_static_shared(const void *address);
uint32_t offset_in_library(const void *code);

} // namespace cuda_on_cpu
