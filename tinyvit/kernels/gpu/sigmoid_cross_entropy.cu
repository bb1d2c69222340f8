// Sigmoid cross-entropy: the mean over the batch of sum(-t log s(x) - (1 - t) log s(-x)), s the logistic function.
#include "blocks.cuh"

// The first of two launches: what each block adds to the loss; total.cu adds that up.
extern "C" __global__ void sigmoid_cross_entropy_forward(const T *logits, const float *targets, float *losses,
                                                         long long count) {
    __shared__ float shared[32];
    float loss = 0;
    long long step = (long long)gridDim.x * blockDim.x;
#pragma unroll 4
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        float x = load(logits + i);
        // -log s(x) = max(-x, 0) + log(1 + exp(-|x|)), so no exp can overflow.
        loss += fmaxf(x, 0) - x * targets[i] + log1pf(expf(-fabsf(x)));
    }
    loss = block_sum(loss, shared);
    if (threadIdx.x == 0) losses[blockIdx.x] = loss;
}

// dlogits = dout (s(x) - t) / B. dout is read on the GPU: nothing has to wait for it.
extern "C" __global__ void sigmoid_cross_entropy_backward(const float *dout, const T *logits, const float *targets,
                                                          T *dlogits, float inverse_batch, long long count) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float sigmoid = 1 / (1 + expf(-load(logits + i)));  // where exp overflows to infinity, the quotient is 0
    store(dlogits + i, *dout * inverse_batch * (sigmoid - targets[i]));
}
