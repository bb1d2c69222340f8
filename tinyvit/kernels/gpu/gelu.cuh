// GELU (Hendrycks and Gimpel, 2016) of one number: x times the probability that a normal variable is below x.
#pragma once

// Returns y = x P(x); and sets *derivative to y'.
#ifdef EXACT
// P = (1 + erf(x / sqrt(2))) / 2;  y' = P + x exp(-x^2 / 2) / sqrt(2 pi).
__device__ inline float gelu(float x, float *derivative) {
    float p = 0.5f + 0.5f * erff(x * 0.70710678f);
    *derivative = p + x * __expf(-0.5f * x * x) * 0.39894228f;
    return x * p;
}
#else
// P = (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3);  y' = P + 2 y (1 - P) u'.
// That P is 1 / (1 + exp(-2 u)): two instructions of the special function unit, where tanhf has two and a branch.
__device__ inline float gelu(float x, float *derivative) {
    float squares = x * x;
    float p = __fdividef(1, 1 + __expf(-x * (1.5957691f + 0.07135481f * squares)));
    float y = x * p;
    *derivative = p + y * (1 - p) * (1.5957691f + 0.21406444f * squares);
    return y;
}
#endif
