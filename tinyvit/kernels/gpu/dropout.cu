// Dropout (Srivastava et al., 2014): each number is zero with probability `rate`, and divided by 1 - rate otherwise.
//
// Which ones are zero must be known twice, in forward and in backward, and need not be stored in between. A usual
// generator makes each random number from the one before: thread 5,000,000 would have to wait for all others. A
// counter-based one has no state. It is a function that scrambles its argument so well that f(1), f(2), f(3), ... pass
// for random: thread i computes f(i), and backward computes f(i) again. The key picks one function out of 2^128, so
// that every dropout of every step has a sequence of its own.
//
// The function is Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), used as NumPy's
// Generator(Philox(key)).random(dtype=float32) does, so that the mask is that of cpu/dropout.py, bit for bit.
#include "vectors.cuh"

// Philox of the counter (counter, 0, 0, 0): four words of 64 bits. In each of ten rounds two of the words are
// multiplied by odd constants. The lower halves of the products are words of the next round as they are; the upper
// halves, to which every bit of a factor contributes, change the two other words and the key is mixed in. Each step can
// be undone, so no two counters give the same four words. The key changes from round to round, by the digits of the
// golden ratio and of the root of 3 less 1: any numbers without a pattern would do.
__device__ inline void philox(unsigned long long counter, unsigned long long key0, unsigned long long key1,
                              unsigned long long *words) {
    unsigned long long a = counter, b = 0, c = 0, d = 0;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned long long factor0 = 0xD2E7470EE14C6C93ull, factor1 = 0xCA5A826395121157ull;
        unsigned long long high0 = __umul64hi(factor0, a), low0 = factor0 * a;
        unsigned long long high1 = __umul64hi(factor1, c), low1 = factor1 * c;
        a = high1 ^ b ^ key0, b = low1, c = high0 ^ d ^ key1, d = low0;
        key0 += 0x9E3779B97F4A7C15ull, key1 += 0xBB67AE8584CAA73Bull;
    }
    words[0] = a, words[1] = b, words[2] = c, words[3] = d;
}

// y = x mask / (1 - rate); scale is 1 / (1 - rate). Eight numbers a thread, for which its four words suffice.
extern "C" __global__ void dropout(const T *x, T *y, unsigned long long key0, unsigned long long key1, float rate,
                                   float scale, long long count) {
    long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, first = 8 * thread;
    if (first >= count) return;
    unsigned long long words[4];
    philox(thread + 1, key0, key1, words);  // NumPy counts up before it draws, so its first counter is 1
#pragma unroll
    for (int piece = 0; piece < 8; piece += VECTOR) {
        if (first + piece >= count) continue;
        float values[VECTOR];
        load_vector(x + first + piece, values);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) {
            int number = piece + i;
            // Of each word first the lower half, then the upper one; of each half the upper 24 bits, as many as a float
            // can hold: a multiple of 2^-24 in [0, 1).
            unsigned bits = (unsigned)(words[number / 2] >> (number % 2 * 32));
            float uniform = (bits >> 8) * (1 / 16777216.0f);
            values[i] *= uniform >= rate ? scale : 0;
        }
        store_vector(y + first + piece, values);
    }
}
