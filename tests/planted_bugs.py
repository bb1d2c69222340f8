"""Small kernels with a bug each: what cuda_on_cpu must report, in which line, and the kernel without it."""

import dataclasses
import re

HEAD = 'extern "C" __global__ void kernel(const float *x, float *y, int count)'


@dataclasses.dataclass(frozen=True)
class Planted:
    """A kernel on x and y of `count` floats each, run by `grid` blocks of `block` threads.

    Attributes:
        name: what the bug is.
        message: what the report says, the lines left out.
        body: the kernel. Lines that end with ``//wrong`` are there only with the bug, and those with ``//right`` only
            without it. The lines with ``//named`` (or ``//wrong named``) must be in the report.
    """

    name: str
    message: str
    body: str
    grid: int = 1
    block: int = 64
    shared_mem: int = 0
    count: int = 64

    def text(self, wrong: bool) -> str:
        """The source of the kernel, with the bug or without; the lines have the same numbers in both."""
        dropped = "right" if wrong else "wrong"
        lines = (HEAD + " {" + self.body + "}\n").splitlines()
        return "\n".join("" if re.search(rf"//\s*{dropped}", line) else line for line in lines) + "\n"

    @property
    def lines(self) -> list[int]:
        """The numbers of the lines that the report must name."""
        return [i for i, line in enumerate(self.text(wrong=True).splitlines(), 1) if line.endswith("named")]


RACES = [
    Planted(
        "a missing __syncthreads",
        "race in shared memory: block (0, 0, 0), thread",
        """
    __shared__ float tile[64];
    tile[threadIdx.x] = x[threadIdx.x];  //named
    __syncthreads();  //right
    y[threadIdx.x] = tile[63 - threadIdx.x];  //named
""",
    ),
    Planted(
        "a __syncthreads missing before the next round",
        "race in shared memory: block (0, 0, 0), thread",
        """
    __shared__ float tile[64];
    for (int round = 0; round < 2; round++) {
        tile[threadIdx.x] = x[threadIdx.x] + round;  //named
        __syncthreads();
        y[threadIdx.x] = tile[63 - threadIdx.x];  //named
        __syncthreads();  //right
    }
""",
    ),
    Planted(
        "all threads write one number",
        "race in shared memory: block (0, 0, 0), thread",
        """
    __shared__ float sum;
    sum = x[threadIdx.x];  //wrong named
    if (threadIdx.x == 0) sum = x[0];  //right
    __syncthreads();
    y[threadIdx.x] = sum;
""",
    ),
    Planted(
        "a missing __syncwarp",
        "with no __syncthreads or __syncwarp between",
        """
    __shared__ float tile[32];
    tile[threadIdx.x] = x[threadIdx.x];  //named
    __syncwarp();  //right
    y[threadIdx.x] = tile[31 - threadIdx.x];  //named
""",
        block=32,
    ),
    Planted(
        "a __syncwarp between two warps",
        "race in shared memory: block (0, 0, 0), thread",
        """
    __shared__ float tile[64];
    tile[threadIdx.x] = x[threadIdx.x];  //named
    __syncwarp();  //wrong
    __syncthreads();  //right
    y[threadIdx.x] = tile[63 - threadIdx.x];  //named
""",
    ),
    Planted(
        "a __syncwarp of too few lanes",
        "with no __syncthreads or __syncwarp between",
        """
    __shared__ float tile[32];
    tile[threadIdx.x] = x[threadIdx.x];  //named
    __syncwarp(threadIdx.x < 16 ? 0xffff : 0xffff0000);  //wrong
    __syncwarp();  //right
    y[threadIdx.x] = tile[threadIdx.x ^ 16];  //named
""",
        block=32,
    ),
    Planted(
        "a shuffle, which puts no accesses in order",
        "with no __syncthreads or __syncwarp between",
        """
    __shared__ float tile[32];
    tile[threadIdx.x] = x[threadIdx.x];  //named
    float first = __shfl_sync(0xffffffff, x[threadIdx.x], 0);
    __syncwarp();  //right
    y[threadIdx.x] = tile[31 - threadIdx.x] + first;  //named
""",
        block=32,
    ),
    Planted(
        "a race in global memory",
        "race in global memory: block (0, 0, 0), thread",
        """
    y[threadIdx.x] = x[threadIdx.x];  //named
    __syncthreads();  //right
    float other = y[63 - threadIdx.x];  //named
    __syncthreads();
    y[threadIdx.x] += other;
""",
    ),
    Planted(
        "a race between blocks",
        "blocks run in any order",
        """
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = x[i];  //named
    if (blockIdx.x == 1) y[i] += y[i - 32];  //wrong named
""",
        grid=2,
        block=32,
    ),
    Planted(
        "blocks that write the same",
        "race in global memory: block",
        """
    y[threadIdx.x] = x[threadIdx.x];  //wrong named
    y[threadIdx.x + blockIdx.x * 32] = x[threadIdx.x];  //right
""",
        grid=2,
        block=32,
    ),
    Planted(
        "a sum that is not atomic",
        "race in global memory: block",
        """
    y[0] += x[threadIdx.x];  //wrong named
    atomicAdd(y, x[threadIdx.x]);  //right
""",
        grid=2,
    ),
    Planted(
        "a read of what others update atomically",
        "race in shared memory: block (0, 0, 0), thread",
        """
    __shared__ int counter;
    if (threadIdx.x == 0) counter = 0;
    __syncthreads();
    atomicAdd(&counter, 1);  //named
    __syncthreads();  //right
    y[threadIdx.x] = counter;  //named
""",
    ),
]

MEMORY = [
    Planted(
        "a read one too far",
        "element 64 of x, which has 64",
        """
    y[threadIdx.x] = x[threadIdx.x + 1];  //wrong named
    y[threadIdx.x] = x[threadIdx.x];  //right
""",
    ),
    Planted(
        "a write one too far",
        " of y, which has 64",
        """
    if (threadIdx.x <= count) y[threadIdx.x] = x[0];  //wrong named
    if (threadIdx.x < count) y[threadIdx.x] = x[0];  //right
""",
        block=96,
    ),
    Planted(
        "a read before the start",
        "reads at mine.cu:3 element -1 of x, which has 64",
        """
    int i = threadIdx.x;
    y[i] = x[i - 1];  //wrong named
    y[i] = x[max(i - 1, 0)];  //right
""",
    ),
    Planted(
        "a vector that does not begin at a multiple of its size",
        "a 'const struct float4' must lie at a multiple of 16 bytes; this one lies",
        """
    const float4 *from = (const float4 *)(x + 4 * threadIdx.x);  //right
    const float4 *from = (const float4 *)(x + 4 * threadIdx.x + 1);  //wrong
    float4 four = *from;  //named
    y[threadIdx.x] = four.x + four.w;
""",
        block=15,
    ),
    Planted(
        "an index too large for a shared array",
        "index 64 is out of bounds of an array 'float [64]'",
        """
    __shared__ float tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x + 1];  //wrong named
    y[threadIdx.x] = tile[threadIdx.x];  //right
""",
    ),
    Planted(
        "an index too large for a row of a shared array",
        "index 8 is out of bounds of an array 'float [8]'",
        """
    __shared__ float tile[8][8];
    tile[threadIdx.x / 8][threadIdx.x % 8 + 1] = x[threadIdx.x];  //wrong named
    tile[threadIdx.x / 8][threadIdx.x % 8] = x[threadIdx.x];  //right
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x % 8][threadIdx.x / 8];
""",
    ),
    Planted(
        "a pointer past the end of a shared array",
        "element 64 of tile, which has 64",
        """
    __shared__ float tile[64], other[64];
    other[threadIdx.x] = 1;
    float *to = tile + threadIdx.x;
    *to = x[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < 63)  //right
    y[threadIdx.x] = to[1];  //named
""",
    ),
    Planted(
        "more dynamic shared memory than asked for",
        "of tile, which has 32: the launch asked for 128 bytes",
        """
    extern __shared__ float tile[];
    if (threadIdx.x < count) tile[threadIdx.x] = x[threadIdx.x];  //wrong named
    if (threadIdx.x < 32) tile[threadIdx.x] = x[threadIdx.x];  //right
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x / 2];
""",
        shared_mem=128,
    ),
    Planted(
        "an index too large for a local array",
        "is out of bounds of an array 'float [4]'",
        """
    float sums[4] = {};
    for (int i = 0; i <= 4; i++) sums[i] += x[threadIdx.x];  //wrong named
    for (int i = 0; i < 4; i++) sums[i] += x[threadIdx.x];  //right
    y[threadIdx.x] = sums[threadIdx.x % 4];
""",
    ),
    Planted(
        "shared memory that nobody wrote",
        "of tile: shared memory that no thread of the block has written",
        """
    __shared__ float tile[64];
    if (threadIdx.x < 60)  //wrong
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x];  //named
""",
    ),
    Planted(
        "shared memory that only the block before wrote",
        "of tile: shared memory that no thread of the block has written",
        """
    __shared__ float tile[32];
    if (blockIdx.x == 0)  //wrong
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[blockIdx.x * 32 + threadIdx.x] = tile[31 - threadIdx.x];  //named
""",
        grid=2,
        block=32,
    ),
    Planted(
        "a write through const",
        "of x, which is const",
        """
    float *to = (float *)x;
    to[threadIdx.x] = 1;  //wrong named
    y[threadIdx.x] = to[threadIdx.x];
""",
    ),
    Planted(
        "a null pointer",
        "null",
        """
    const float *from = x;  //right
    const float *from = 0;  //wrong
    y[threadIdx.x] = from[threadIdx.x];  //named
""",
    ),
]

DIVERGENCE = [
    Planted(
        "a divergent barrier",
        "divergent __syncthreads: thread",
        """
    if (threadIdx.x < 32)  //wrong
    __syncthreads();  //named
    y[threadIdx.x] = x[threadIdx.x];
""",
    ),
    Planted(
        "barriers in two branches",
        "divergent __syncthreads: thread",
        """
    if (threadIdx.x < 32) __syncthreads();  //wrong named
    else __syncthreads();  //wrong named
    __syncthreads();  //right
    y[threadIdx.x] = x[threadIdx.x];
""",
    ),
    Planted(
        "a divergent shuffle",
        "divergent __shfl_xor_sync: thread",
        """
    float value = x[threadIdx.x];
    if (threadIdx.x % 2)  //wrong
    value += __shfl_xor_sync(0xffffffff, value, 1);  //named
    y[threadIdx.x] = value;
""",
    ),
    Planted(
        "a lane that has left",
        "has left the kernel",
        """
    if (threadIdx.x >= 50) return;  //wrong
    float value = x[threadIdx.x];
    y[threadIdx.x] = __shfl_down_sync(0xffffffff, value, 1);  //named
""",
    ),
    Planted(
        "a thread that has left before a barrier",
        "has left the kernel",
        """
    if (threadIdx.x == 63) return;  //wrong
    __syncthreads();  //named
    y[threadIdx.x] = x[threadIdx.x];
""",
    ),
    Planted(
        "a shuffle whose mask leaves the lane out",
        "divergent __shfl_sync",
        """
    unsigned mask = 0xffffffff;  //right
    unsigned mask = 0x7fffffff;  //wrong
    y[threadIdx.x] = __shfl_sync(mask, x[threadIdx.x], 0);  //named
""",
    ),
    Planted(
        "a deadlock",
        "divergent",
        """
    if (threadIdx.x < 16) __syncwarp();  //wrong named
    else __syncthreads();  //wrong named
    y[threadIdx.x] = x[threadIdx.x];
""",
        block=32,
    ),
    Planted(
        "a wait in a loop",
        "if it loops until another thread has done something",
        """
    __shared__ volatile int flag;
    if (threadIdx.x == 0) flag = 0;
    __syncthreads();
    if (threadIdx.x == 0) while (!flag) {}  //wrong named
    y[threadIdx.x] = x[threadIdx.x];
""",
        count=1000,
    ),
]

# Seen by no instrumentation: only by the guard pages, which stand right behind an array in order 1, right before it in
# order 2, and below each thread's stack.
FAULTS = {
    1: Planted(
        "a copy of too much",
        "reads at mine.cu:3 element 64 of x, which has 64",
        """
    float copy[68];
    memcpy(copy, x, (count + 1) * 4);  //wrong named
    memcpy(copy, x, count * 4);  //right
    y[threadIdx.x] = copy[threadIdx.x];
""",
    ),
    2: Planted(
        "a copy from before the start",
        "element -1 of x, which has 64",
        """
    float copy[64];
    memcpy(copy, x - 1, count * 4);  //wrong named
    memcpy(copy, x, count * 4);  //right
    y[threadIdx.x] = copy[threadIdx.x];
""",
    ),
    0: Planted(
        "more local variables than the stack has",
        "the local variables do not fit on the thread's stack",
        """  //named
    float copy[65536];  //wrong
    float copy[64];  //right
    for (int i = 0; i < count; i++) copy[i * 7 % 64] = x[i];
    y[threadIdx.x] = copy[threadIdx.x];
""",
    ),
}
