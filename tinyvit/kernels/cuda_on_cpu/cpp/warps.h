// Operations that the 32 threads of a warp do together.
#pragma once
#include "blocks.h"

namespace cuda_on_cpu {

template <typename X> struct Shuffle {
    X value;
    int source;
    X result;
};

template <typename X> X shuffle(const char *operation, unsigned mask, X value, int source, Place place) {
    Shuffle<X> request = {value, source, value};
    collective(
        operation, mask, &request,
        [](void **requests) {
            for (int lane = 0; lane < 32; lane++) {
                Shuffle<X> *own = (Shuffle<X> *)requests[lane];
                if (own && requests[own->source]) own->result = ((Shuffle<X> *)requests[own->source])->value;
            }
        },
        place);
    return request.result;
}

struct Vote {
    bool yes;
    unsigned result;
};

inline unsigned ballot(const char *operation, unsigned mask, bool yes, Place place) {
    Vote request = {yes, 0};
    collective(
        operation, mask, &request,
        [](void **requests) {
            unsigned votes = 0;
            for (int lane = 0; lane < 32; lane++)
                if (requests[lane] && ((Vote *)requests[lane])->yes) votes |= 1u << lane;
            for (int lane = 0; lane < 32; lane++)
                if (requests[lane]) ((Vote *)requests[lane])->result = votes;
        },
        place);
    return request.result;
}

// The lane that a shuffle reads, or the own one where it would leave the group of `width` lanes, as CUDA has it.
inline int source_lane(int wanted, int width) {
    int lane = lane_index(), group = lane / width * width;
    return wanted < group || wanted >= group + width ? lane : wanted;
}

} // namespace cuda_on_cpu

template <typename X> inline X __shfl_xor_sync(unsigned mask, X value, int lanes, int width = 32, HERE) {
    int source = cuda_on_cpu::source_lane(cuda_on_cpu::lane_index() ^ lanes, width);
    return cuda_on_cpu::shuffle("__shfl_xor_sync", mask, value, source, {file, line});
}
template <typename X> inline X __shfl_down_sync(unsigned mask, X value, int lanes, int width = 32, HERE) {
    int source = cuda_on_cpu::source_lane(cuda_on_cpu::lane_index() + lanes, width);
    return cuda_on_cpu::shuffle("__shfl_down_sync", mask, value, source, {file, line});
}
template <typename X> inline X __shfl_up_sync(unsigned mask, X value, int lanes, int width = 32, HERE) {
    int source = cuda_on_cpu::source_lane(cuda_on_cpu::lane_index() - lanes, width);
    return cuda_on_cpu::shuffle("__shfl_up_sync", mask, value, source, {file, line});
}
template <typename X> inline X __shfl_sync(unsigned mask, X value, int source, int width = 32, HERE) {
    int lane = cuda_on_cpu::lane_index();
    return cuda_on_cpu::shuffle("__shfl_sync", mask, value, lane / width * width + source % width, {file, line});
}
inline void __syncwarp(unsigned mask = 0xffffffff, HERE) {
    cuda_on_cpu::collective("__syncwarp", mask, cuda_on_cpu::current, [](void **) {}, {file, line}, true);
}
inline unsigned __ballot_sync(unsigned mask, int yes, HERE) {
    return cuda_on_cpu::ballot("__ballot_sync", mask, yes, {file, line});
}
inline int __any_sync(unsigned mask, int yes, HERE) {
    return cuda_on_cpu::ballot("__any_sync", mask, yes, {file, line}) != 0;
}
inline int __all_sync(unsigned mask, int yes, HERE) {
    return cuda_on_cpu::ballot("__all_sync", mask, yes, {file, line}) == mask;
}

// Threads take turns, so plain arithmetic is atomic here. The runtime is told of it, and not by the compiler.
#define ATOMIC template <typename X> __attribute__((noinline, no_sanitize("thread"))) X
#define BEGIN_ATOMIC cuda_on_cpu::atomic(address, sizeof(X), (char *)__builtin_return_address(0) - 1); X old = *address
ATOMIC atomicAdd(X *address, X value) { BEGIN_ATOMIC; *address = old + value; return old; }
ATOMIC atomicMax(X *address, X value) { BEGIN_ATOMIC; if (value > old) *address = value; return old; }
ATOMIC atomicMin(X *address, X value) { BEGIN_ATOMIC; if (value < old) *address = value; return old; }
ATOMIC atomicExch(X *address, X value) { BEGIN_ATOMIC; *address = value; return old; }
ATOMIC atomicCAS(X *address, X expected, X value) { BEGIN_ATOMIC; if (old == expected) *address = value; return old; }
#undef ATOMIC
#undef BEGIN_ATOMIC
inline void __threadfence() { cuda_on_cpu::fence(); }
inline void __threadfence_block() {}
