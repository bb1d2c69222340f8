// By what the gradient is multiplied before a step. One thread does it: what matters is that the numbers stay on the
// GPU, so that the program need not wait for a gradient's norm before it can launch the step that uses it.
extern "C" __global__ void clip_scale(const float *squared_norm, const float *loss, float largest, float *scale) {
    float norm = sqrtf(*squared_norm);
    // What is not finite becomes NaN when multiplied by zero, and stays that when added.
    float not_finite = 0 * norm + 0 * *loss;
    *scale = (largest > 0 && norm > largest ? largest / norm : 1) + not_finite;
}
