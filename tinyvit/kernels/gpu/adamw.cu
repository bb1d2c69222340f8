// AdamW. Bound by memory: 28 bytes move for each parameter (16 are read, 12 written), for a dozen operations.
#include "optimizer.cuh"

// With b1 and b2 the decays, rest1 = 1 - b1 and rest2 = 1 - b2:
//     m = b1 m + rest1 g;  v = b2 v + rest2 g^2;  p = keep p - rate m / (sqrt(v) correction + eps).
// The corrections for the number of steps are the same for all numbers, so the launcher has put them into rate, keep
// and correction. gradient_scale is read from memory where it is given: clipping has computed it there.
extern "C" __global__ void adamw_step(float *parameter, const T *gradient, float *mean, float *variance,
                                      __nv_bfloat16 *working, const float *gradient_scale, float scale, float beta1,
                                      float rest1, float beta2, float rest2, float correction, float eps, float rate,
                                      float keep, long long count) {
    long long first = first_number();
    if (first >= count) return;
    if (gradient_scale) scale = *gradient_scale;
    if (scale != scale) return;  // NaN: the batch was bad, and nothing shall change
    Numbers<float> p = numbers(parameter, first), m = numbers(mean, first), v = numbers(variance, first);
    Numbers<T> g = numbers(gradient, first);
#pragma unroll
    for (int i = 0; i < VECTOR; i++) {
        float scaled = load(g.at + i) * scale;
        m.at[i] = beta1 * m.at[i] + rest1 * scaled;
        v.at[i] = beta2 * v.at[i] + rest2 * scaled * scaled;
        p.at[i] = keep * p.at[i] - rate * m.at[i] / (sqrtf(v.at[i]) * correction + eps);
    }
    numbers(parameter, first) = p;
    numbers(mean, first) = m;
    numbers(variance, first) = v;
    store_working(working, first, p);
}
