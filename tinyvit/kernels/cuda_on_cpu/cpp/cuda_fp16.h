// A stand-in for CUDA's cuda_fp16.h: 16 bits that are only passed on, since no kernel here computes with half precision.
#pragma once
#include <stdint.h>

struct __half {
    uint16_t bits;
};

inline unsigned short __half_as_ushort(__half x) { return x.bits; }
