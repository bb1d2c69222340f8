// SGD with momentum: u = momentum u + g + decay p;  p = p - rate u.
#include "optimizer.cuh"

extern "C" __global__ void sgd_step(float *parameter, const T *gradient, float *velocity, __nv_bfloat16 *working,
                                    const float *gradient_scale, float scale, float momentum, float decay, float rate,
                                    long long count) {
    long long first = first_number();
    if (first >= count) return;
    if (gradient_scale) scale = *gradient_scale;
    if (scale != scale) return;  // NaN: the batch was bad, and nothing shall change
    Numbers<float> p = numbers(parameter, first), u = numbers(velocity, first);
    Numbers<T> g = numbers(gradient, first);
#pragma unroll
    for (int i = 0; i < VECTOR; i++) {
        u.at[i] = momentum * u.at[i] + load(g.at + i) * scale + decay * p.at[i];
        p.at[i] -= rate * u.at[i];
    }
    numbers(parameter, first) = p;
    numbers(velocity, first) = u;
    store_working(working, first, p);
}
