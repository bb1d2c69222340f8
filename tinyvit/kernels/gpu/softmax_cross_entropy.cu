// Softmax cross-entropy: the mean over the batch of -sum(t log softmax(x)). A block for each row, so that a few rows of
// many classes (21,843 of ImageNet-21k) occupy the GPU too.
#include "blocks.cuh"
#include "softmax.cuh"

// What each row adds to the loss, and its gradient: softmax(x) sum(t) - t. Forward has all that the gradient needs in
// its registers, so backward has only to scale it. It is better kept than the probabilities: where a model is nearly
// sure, p - t is small, and would be lost in the rounding of a p near 1 to bfloat16.
extern "C" __global__ void softmax_cross_entropy_forward(const T *logits, const float *targets, float *losses,
                                                         T *gradient, int width) {
    __shared__ float shared[32];
    logits += (long long)blockIdx.x * width, targets += (long long)blockIdx.x * width;
    gradient += (long long)blockIdx.x * width;
    Exponentials seen = {LOWEST, 0};
    float target_sum = 0;
    for (int i = threadIdx.x * VECTOR; i < width; i += blockDim.x * VECTOR) {
        float values[VECTOR];
        load_vector(logits + i, values);
        see(seen, values);
#pragma unroll
        for (int k = 0; k < VECTOR; k++) target_sum += targets[i + k];
    }
    float largest = block_max(seen.largest, shared);
    float sum = block_sum(seen.sum * expf(seen.largest - largest), shared);
    target_sum = block_sum(target_sum, shared);
    // log softmax from the logits: the logarithm of a probability that rounded to 0 would be -inf.
    float log_sum = logf(sum), inverse_sum = 1 / sum, loss = 0;
    for (int i = threadIdx.x * VECTOR; i < width; i += blockDim.x * VECTOR) {
        float values[VECTOR];
        load_vector(logits + i, values);
#pragma unroll
        for (int k = 0; k < VECTOR; k++) {
            float shifted = values[k] - largest, target = targets[i + k];
            loss -= target * (shifted - log_sum);
            values[k] = expf(shifted) * inverse_sum * target_sum - target;
        }
        store_vector(gradient + i, values);
    }
    loss = block_sum(loss, shared);
    if (threadIdx.x == 0) losses[blockIdx.x] = loss;
}

// dlogits = gradient dout / B. dout is read on the GPU: nothing has to wait for it.
extern "C" __global__ void softmax_cross_entropy_backward(const float *dout, const T *gradient, T *dlogits,
                                                          float inverse_batch, long long count) {
    long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * VECTOR;
    if (i >= count) return;
    float values[VECTOR], scale = *dout * inverse_batch;
    load_vector(gradient + i, values);
#pragma unroll
    for (int k = 0; k < VECTOR; k++) values[k] *= scale;
    store_vector(dlogits + i, values);
}
