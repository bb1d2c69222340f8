// Reading and writing 16 bytes at once: the widest access, with a quarter of the instructions of float by float.
//
// VECTOR is how many numbers of type T that is. The launchers compile with -DVECTOR=1 where a row's width is no
// multiple of it, or an array does not begin at a multiple of 16 bytes: the same code then goes number by number.
#pragma once
#include "common.cuh"

#ifndef VECTOR
#define VECTOR (16 / (int)sizeof(T))
#endif

struct alignas(VECTOR * sizeof(T)) Vector {
    T numbers[VECTOR];
};

__device__ inline void load_vector(const T *address, float *values) {
    Vector vector = *(const Vector *)address;
#pragma unroll
    for (int i = 0; i < VECTOR; i++) values[i] = load(vector.numbers + i);
}

__device__ inline void store_vector(T *address, const float *values) {
    Vector vector;
#pragma unroll
    for (int i = 0; i < VECTOR; i++) store(vector.numbers + i, values[i]);
    *(Vector *)address = vector;
}
