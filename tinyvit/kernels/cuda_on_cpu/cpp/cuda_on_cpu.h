// What a .cu file finds in place of CUDA when it is compiled for the CPU: the names that the CUDA C++ language and its
// built-in functions give. The compiler includes it before the first line of the file.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "blocks.h"

#define __global__ __attribute__((noinline))
#define __device__ __attribute__((always_inline))
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// One block runs at a time, so what its threads share can be a static array. All of them lie in one section, each after
// a gap that belongs to none: an index a little too large ends there, and not in another array.
#define CUDA_ON_CPU_GAP_NAMED(number) cuda_on_cpu_gap_##number
#define CUDA_ON_CPU_GAP(number) CUDA_ON_CPU_GAP_NAMED(number)
#define __shared__                                                                                              \
    static __attribute__((section("cuda_shared"), used)) char CUDA_ON_CPU_GAP(__COUNTER__)[64];                 \
    static __attribute__((section("cuda_shared")))

#define threadIdx (cuda_on_cpu::thread_index())
#define blockIdx (cuda_on_cpu::block_index())
#define blockDim (cuda_on_cpu::block_size())
#define gridDim (cuda_on_cpu::grid_size())
#define warpSize 32

#define HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(HERE) { cuda_on_cpu::barrier({file, line}); }

// Built-in vector types.
struct __attribute__((aligned(8))) float2 { float x, y; };
struct __attribute__((aligned(16))) float4 { float x, y, z, w; };
struct __attribute__((aligned(8))) uint2 { unsigned x, y; };
struct __attribute__((aligned(16))) uint4 { unsigned x, y, z, w; };
struct __attribute__((aligned(16))) int4 { int x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// Arithmetic that the C library does not have under these names.
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __float_as_int(float x) { int i; memcpy(&i, &x, 4); return i; }
inline float __int_as_float(int i) { float x; memcpy(&x, &i, 4); return x; }
inline unsigned __float_as_uint(float x) { unsigned i; memcpy(&i, &x, 4); return i; }
inline float __uint_as_float(unsigned i) { float x; memcpy(&x, &i, 4); return x; }
template <typename X> __attribute__((always_inline)) inline X __ldg(const X *x) { return *x; }

#include "warps.h"
#undef HERE
