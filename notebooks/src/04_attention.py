# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Attention
#
# **The question:** how can vectors look at each other, and decide by
# themselves what to look at?
#
# ## Where we are
#
# In [chapter 3](03_an_image_as_a_sentence.ipynb) an image became a list of
# vectors, $z_0$: one for each patch and one, the class token, in front. We
# call all of them *tokens*. So far each of them knows its own patch and
# place and nothing else, and the layers of [chapter 2](02_layers_by_hand.ipynb) will
# not change that, for they treat each token by itself. But one patch does
# not make a boot. The tokens must meet somewhere.
#
# They meet in one place only, *multi-head self-attention*, which the
# paper's equation 2 calls MSA. This chapter builds it: forwards, backwards,
# what it costs, and how to do it with far less memory.
#
# ## The idea
#
# Each token makes three vectors of itself. With its *query* it asks a
# question. With its *key* it shows what it has to offer. Its *value* is
# what it tells those who listen.
#
# A token compares its query with the key of every token. The better they
# fit, the more weight that token's value gets. Then it goes home with the
# weighted average of all values. The weights are made anew for each image
# and each token, from what the tokens contain. It is **an average that
# chooses**.

# %%
import inspect
import os
import tracemalloc

import numpy as np

from tinyvit.analysis import style
from tinyvit.kernels import softmax_forward as softmax

fast = "TINYVIT_FAST" in os.environ
fits = np.array([0.3, 2.2, 1.4, -0.8])  # of one query with four keys
weights = softmax(fits)

# %% tags=["drawing"]
def box(axis, x, y, text, colour):
    axis.text(
        x, y, text, ha="center", va="center",
        bbox={"boxstyle": "round,pad=0.4", "fc": "white", "ec": colour},
    )


figure, axis = style.new_figure(6, 2.8)
for number, (fit, weight) in enumerate(zip(fits, weights)):
    y = 3 - number
    axis.plot([0.5, 3], [1.5, y], color=style.GREY, linewidth=0.8)
    axis.plot([3, 6.6], [y, y], color=style.BLUE, linewidth=9 * weight)
    axis.plot([6.6, 9.6], [y, 1.5], color=style.BLUE,
              linewidth=9 * weight)
    box(axis, 3, y, f"key {number + 1}: fits {fit:+.1f}", style.GREEN)
    box(axis, 6.6, y, f"value {number + 1}", style.BLUE)
    axis.text(4.9, y + 0.15, f"{weight:.0%}", color=style.BLUE)
box(axis, 0.3, 1.5, "query 2", style.ORANGE)
box(axis, 9.8, 1.5, "their\nmixture", style.BLUE)
axis.set_xlim(-0.9, 10.9)
axis.set_ylim(-0.5, 3.5)
axis.axis("off")
axis.set_title("Token 2 asks all four, itself among them");

# %% [markdown]
# The softmax of chapter 1 turns the four fits into four shares: positive
# numbers that sum to 1.

# %%
assert abs(weights.sum() - 1) < 1e-12 and weights.argmax() == 1

# %% [markdown]
# ## An average that chooses, with nothing learned
#
# What is such an average good for? Here is a task for which it needs no
# training. To each pixel of the boot of chapter 0 we add noise. If you
# average several pixels that should be equal, most of their noise cancels
# out. But which ones should be equal?
#
# For this section let each *pixel* be a token: there are $N = 28 \cdot 28 =
# 784$, and the value of each is how dark it is, $v$ of shape $(N, 1)$. An
# average for each token is a row of weights. All rows together are a
# matrix $A$ of shape $(N, N)$, and all averages at once are a product:
#
# $$
# o_i = \sum_j A_{ij}\, v_j
# \qquad\text{that is}\qquad
# o = A v
# $$

# %%
from tinyvit.data import load_dataset

train, test = load_dataset("fashion-mini")
clean = test.images[10, :, :, 0] / 255
random = np.random.default_rng(0)
noisy = clean + random.normal(0, 0.2, clean.shape)
v = noisy.reshape(-1, 1)
N = len(v)
print(N, v.shape)

# %% [markdown]
# **First: all alike.** Every weight is $1/N$. The noise is gone, and so is
# the boot.

# %%
A_all = np.full((N, N), 1 / N)

# %% [markdown]
# **Second: by place.** Near pixels are likely to be alike, so give them
# more weight. Let the *score*, which says how well pixel $j$ fits pixel $i$,
# be lower the farther apart they are, and let softmax make weights of each
# row of scores.

# %%
place = np.stack(np.divmod(np.arange(N), 28), axis=1)  # (N, 2)
apart = np.linalg.norm(place[:, None] - place[None], axis=2)
A_place = softmax(-(apart**2) / 2)
np.testing.assert_allclose(A_place.sum(axis=1), 1)

# %% [markdown]
# These weights are the same for every image: a blur. **Third: by content.**
# Describe each pixel by what surrounds it, the 5 x 5 pixels $x_i$ around
# it, as a vector of shape $(25{,})$. Two pixels fit if their surroundings are
# alike, wherever they are. So let the score be minus the sum of the squared
# differences. With $a \cdot b = \sum_m a_m b_m$, the *dot product* of two
# vectors, and $|a|^2 = a \cdot a$, it is
#
# $$
# \begin{aligned}
# -|x_i - x_j|^2
#   &= 2\, x_i \cdot x_j - |x_j|^2 - |x_i|^2 \\
#   &= \underbrace{(2 x_i,\; 1)}_{q_i} \cdot
#      \underbrace{(x_j,\; -|x_j|^2)}_{k_j} - |x_i|^2 .
# \end{aligned}
# $$
#
# The last term is the same for all $j$. It shifts a whole row of scores,
# and softmax does not notice (chapter 2). What is left is one dot product:
# of a vector that belongs to the pixel that asks, its query $q_i$, and one
# of the pixel that is looked at, its key $k_j$, both of shape $(26{,})$. Both
# are made of the same $x$, but in different ways. All scores at once are
# again a product of matrices, $q k^\top$.

# %%
around = np.lib.stride_tricks.sliding_window_view(
    np.pad(noisy, 2, mode="reflect"), (5, 5)
)
x = around.reshape(N, 25)
length = (x**2).sum(axis=1, keepdims=True)
q = np.concatenate([2 * x, np.ones((N, 1))], axis=1)  # (N, 26)
k = np.concatenate([x, -length], axis=1)  # (N, 26)
A_content = softmax(q @ k.T)

direct = -((x[:, None] - x[None]) ** 2).sum(axis=2)
np.testing.assert_allclose(A_content, softmax(direct), atol=1e-12)

# %%
asks = 23 * 28 + 22  # a pixel at the edge of the sole
columns = {
    "with noise": np.eye(N), "all alike": A_all, "by place": A_place,
    "by content": A_content,
}
pictures = {
    name: (A @ v).reshape(28, 28) for name, A in columns.items()
}
errors = {
    name: np.sqrt(np.mean((picture - clean) ** 2))
    for name, picture in pictures.items()
}

# %% tags=["drawing"]
figure, axes = style.new_figure(6, 3.9, 2, 4)
figure.suptitle("An average that chooses keeps the edges sharp",
                x=0.01, ha="left", fontsize=11)
for (name, A), (top, bottom) in zip(columns.items(), axes.T):
    top.imshow(pictures[name], cmap="gray_r", vmin=0, vmax=1)
    top.set_title(f"{name}\nerror {errors[name]:.3f}", fontsize=10)
    others = np.sort(A[asks])[-2] or 1  # the largest but one
    bottom.imshow(A[asks].reshape(28, 28), cmap="cividis", vmin=0,
                  vmax=others)
    bottom.plot(22, 23, "s", mfc="none", mec=style.VERMILION, ms=6)
    for axis in (top, bottom):
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
axes[0, 0].set_ylabel("average")
axes[1, 0].set_ylabel("weights of one pixel");

# %%
assert errors["all alike"] > errors["with noise"]
assert errors["by content"] < 0.8 * errors["by place"]
background = clean.ravel() == 0
for name, A in list(columns.items())[1:]:
    share = A[asks, background].sum()
    print(f"{name:10} gives the background {share:.1%}")
assert A_place[asks, background].sum() > 0.25
assert A_content[asks, background].sum() < 0.1

# %% [markdown]
# The error is the root of the mean squared difference from the boot without
# noise. Below each picture you see what the pixel in the red square looks at, a
# row of $A$ (the colours end at the largest weight of another pixel, for
# the pixel fits itself best). The pixel lies in the sole, at its lower edge. By place it looks
# around, and takes in a lot of background. By content it finds other pieces
# of the sole and leaves out most of the background, and so the edge stays
# sharp. Nobody drew a sole for it. The weights came from the image itself.
#
# That was attention, complete: queries, keys, softmax, values. Only one
# thing is missing. *We* decided that a query should be $(2x_i, 1)$. A
# network should find out by itself what to ask, what to show and what to
# tell.
#
# ## The mathematics
#
# So let the three be linear functions of the tokens, and let them be
# learned. The tokens are $z$ of shape $(N, D)$, with $N$ counting the class
# token from here on.
# One matrix $U_{qkv}$ of shape $(D, 3 D_h)$ makes all three, each of
# shape $(N, D_h)$. These are equations 5 to 7 of the paper, in its appendix A:
#
# $$
# \begin{aligned}
# {}[q, k, v] &= z\, U_{qkv} && (N, D_h) \\
# A &= \mathrm{softmax}\bigl(q k^\top / \sqrt{D_h}\bigr) && (N, N) \\
# \mathrm{SA}(z) &= A v && (N, D_h)
# \end{aligned}
# $$
#
# It is called *self*-attention because those who ask and those who answer
# are the same tokens. The division by $\sqrt{D_h}$ gets a section of its
# own below. In Python that is three lines:

# %%
def self_attention(z, U_qkv):
    """Equations 5 to 7: (N, D), (D, 3 D_h) -> (N, D_h)."""
    q, k, v = np.split(z @ U_qkv, 3, axis=1)
    scores = q @ k.T / np.sqrt(q.shape[1])
    return softmax(scores) @ v


N, D, D_h = 17, 64, 32  # as in nano, with patches of 7 pixels
z = random.normal(size=(N, D))
U_qkv = random.normal(0, D**-0.5, size=(D, 3 * D_h))
o = self_attention(z, U_qkv)
print(o.shape)

# %% [markdown]
# And so that nothing hides in the matrices, once more for token 5, number
# by number:

# %%
W_q, W_k, W_v = np.split(U_qkv, 3, axis=1)
query = z[5] @ W_q
shares = []
for j in range(N):
    key = z[j] @ W_k
    shares.append(np.exp(sum(query * key) / np.sqrt(D_h)))
answer = np.zeros(D_h)
for j in range(N):
    answer += shares[j] / sum(shares) * (z[j] @ W_v)
np.testing.assert_allclose(answer, o[5])

# %% [markdown]
# ### Several heads
#
# A token gets one average, with one set of weights. But it may need to
# know two things: what its neighbours look like, *and* whether there is a
# sole anywhere. Averaging both into one vector would blur them. So let
# there be $h$ *heads*, each with a $U_{qkv}$ of its own, that look at
# different things. Their answers are laid side by side, and one more
# learned matrix $U_{msa}$ mixes them (equation 8):
#
# $$
# \mathrm{MSA}(z) = [\mathrm{SA}_1(z);\; \dots;\; \mathrm{SA}_h(z)]\,
#   U_{msa}
# $$
#
# Each head is $D_h = D / h$ wide, so that the answers together are $D$ wide
# again. $U_{msa}$ is $(D, D)$. More heads do not cost more parameters: $h$
# matrices of shape $(D, 3 D/h)$ have $3D^2$ numbers, however many heads
# there are. (The paper writes $k$ for the number of heads.)

# %%
def multi_head(z, U_heads, U_msa):
    """Equation 8: (N, D) -> (N, D), with a matrix for each head."""
    answers = [self_attention(z, U_qkv) for U_qkv in U_heads]
    return np.concatenate(answers, axis=1) @ U_msa


heads = 2
U_heads = random.normal(0, D**-0.5, size=(heads, D, 3 * D_h))
U_msa = random.normal(0, D**-0.5, size=(D, D))
out = multi_head(z, U_heads, U_msa)
print(out.shape)

# %% [markdown]
# In practice all heads of all images of a batch are computed at once. Put
# the matrices side by side; then one product makes all queries, keys and
# values, and a reshape splits them, with the same two-digit trick as in chapter 3.
# NumPy's `@` multiplies the last two axes and repeats that over all in
# front, here $B$ images and $h$ heads:

# %%
def split_heads(x, heads):
    """(B, N, D) -> (B, h, N, D_h)."""
    batch, tokens, width = x.shape
    split = x.reshape(batch, tokens, heads, width // heads)
    return split.transpose(0, 2, 1, 3)


def attention(qkv, heads):
    """Equations 6 and 7 for all heads: (B, N, 3 D) -> (B, N, D)."""
    parts = np.split(qkv, 3, axis=2)
    q, k, v = (split_heads(part, heads) for part in parts)
    scores = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[3])
    answers = softmax(scores) @ v  # (B, h, N, D_h)
    return answers.transpose(0, 2, 1, 3).reshape(parts[0].shape)


# %%
# From (head, D, [q k v]) to (D, [q of all heads, k ..., v ...]).
U_all = (
    U_heads.reshape(heads, D, 3, D_h)
    .transpose(1, 2, 0, 3)
    .reshape(D, 3 * D)
)
batch = random.normal(size=(4, N, D))
batch[0] = z
together = attention(batch @ U_all, heads) @ U_msa
np.testing.assert_allclose(together[0], out)

# %% [markdown]
# ## The same in tinyvit
#
# tinyvit has it in three forms, as it has every part of the network. The
# kernel works on arrays, and also gives the weights $A$:

# %%
from tinyvit import Tensor, autograd, gradcheck, kernels
from tinyvit.nn import MultiHeadAttention

qkv = batch @ U_all
theirs, A = kernels.attention_forward(qkv, heads, N)
np.testing.assert_allclose(theirs, attention(qkv, heads))
print("weights:", A.shape)
np.testing.assert_allclose(A.sum(axis=-1), 1)

# %% [markdown]
# The differentiable operation works on Tensors, and the layer owns the two
# matrices, each with a bias:

# %%
result = autograd.attention(Tensor(qkv), heads)
np.testing.assert_allclose(result.data, theirs)

layer = MultiHeadAttention(D, heads, np.random.default_rng(0))
layer.qkv.weight.data[...] = U_all
layer.out.weight.data[...] = U_msa
np.testing.assert_allclose(
    layer(Tensor(batch.astype(np.float32))).data, together, atol=1e-5
)
assert layer.num_parameters == 4 * D**2 + 4 * D
print(inspect.getsource(MultiHeadAttention.__call__))

# %% [markdown]
# The last argument, `asking`, says how many of the tokens ask: all, or only
# the first few. A ViT is a stack of *blocks*, each with one attention and
# one MLP (chapter 5). Of the last block only the class token's answer is
# read. All others still show their keys and tell their values, but nobody
# needs to hear what *they* would have learned.

# %%
first, _ = kernels.attention_forward(qkv, heads, 1)
np.testing.assert_allclose(first, theirs[:, :1])

# %% [markdown]
# ## Why divide by the square root?
#
# A score is a sum of $D_h$ products, and sums of more terms are larger. How
# large? Its square is
#
# $$
# \begin{aligned}
# (q \cdot k)^2
#   &= \Bigl( \sum_m q_m k_m \Bigr) \Bigl( \sum_n q_n k_n \Bigr) \\
#   &= \sum_m q_m^2\, k_m^2 + \sum_{m \neq n} q_m q_n\, k_m k_n .
# \end{aligned}
# $$
#
# Draw all numbers of $q$ and $k$ at random, each without regard to the
# others, $a$ as often as $-a$, and with a mean square of 1. Before training
# they are roughly like that. Now take the mean over many draws. In the
# second sum a term is $a$ as often as $-a$, so its mean is 0. In the
# first, $k_m^2$ has the mean 1 whatever $q_m^2$ was drawn, for it was
# drawn without regard to that. So each product has the mean of $q_m^2$, which
# is 1 as well, and there are $D_h$ of them:
#
# $$
# \text{mean of } (q \cdot k)^2 = D_h .
# $$
#
# So the size of a score, by which we mean the root of its mean square, is
# $\sqrt{D_h}$. Dividing by that brings it back to 1, whatever the width.
#
# And why does it matter? Because softmax *saturates*. If one score is larger
# than all others by 10, its weight is almost 1 and the others are almost 0.
# Then a small change of the scores changes next to nothing, and the gradient
# says so. Chapter 2 derived it, for one row $A$ of weights and its scores
# $S$:
#
# $$
# \bar S_j = A_j \Bigl( \bar A_j - \sum_l \bar A_l A_l \Bigr)
# $$
#
# Put in one weight of 1 and the others 0. For those that are 0 the first
# factor is 0. For the other the bracket is $\bar A_j - \bar A_j$. **Nothing
# passes.** The head has made up its mind and cannot learn otherwise. Let us
# measure both, with 197 keys, as many as a ViT has for 224 x 224
# pixels in patches of 16.

# %%
def size_of_gradient(scores):
    """How much of a random gradient passes, in the middle row."""
    A = softmax(scores)
    arriving = np.random.default_rng(1).normal(size=A.shape)
    passed = kernels.softmax_backward(arriving, A)
    # The median: the middle one when all rows are sorted by size. (In a
    # mean, a few rows with close scores would hide all others.)
    return np.median(np.sqrt(np.mean(passed**2, axis=1)))


widths = 4 ** np.arange(1, 7)
spread, passes = [], {"scaled": [], "not scaled": []}
for width in widths:
    q = random.normal(size=(500, width))
    k = random.normal(size=(197, width))
    scores = q @ k.T
    spread.append(np.sqrt(np.mean(scores**2)))
    passes["not scaled"].append(size_of_gradient(scores))
    passes["scaled"].append(size_of_gradient(scores / width**0.5))
print(np.round(spread, 1))
np.testing.assert_allclose(spread, widths**0.5, rtol=0.1)

# %% tags=["drawing"]
figure, axes = style.new_figure(6.2, 3, 1, 2)
axes[0].loglog(widths, widths**0.5, color=style.GREY)
axes[0].loglog(widths, spread, "o", color=style.BLUE)
axes[0].text(5, 20, "line: $\\sqrt{D_h}$\ndots: measured")
axes[0].set_yticks(widths**0.5, [f"{size:g}" for size in widths**0.5])
axes[0].set_ylabel("size of $q \\cdot k$")
axes[0].set_title("Wider vectors, larger scores ...")
for sizes, colour in zip(
    passes.values(), (style.BLUE, style.VERMILION)
):
    axes[1].loglog(widths, sizes, "o-", color=colour)
axes[1].set_ylim(1e-10, 1)
axes[1].text(100, 4e-2, "divided by $\\sqrt{D_h}$", color=style.BLUE)
axes[1].text(900, 1e-6, "not divided", color=style.VERMILION,
             ha="right")
axes[1].set_ylabel("gradient that passes")
axes[1].set_title("... until the gradient dies")
for axis in axes:
    axis.minorticks_off()
    axis.set_xlabel("width of a head, $D_h$")

# %%
scaled, dead = np.array(passes["scaled"]), passes["not scaled"]
for width, share in zip(widths, dead / scaled):
    print(f"{width:5,} wide: {share:.2g} of what passes when divided")
assert scaled.max() < 1.5 * scaled.min()
assert dead[2] > scaled[2]  # 64 wide
assert dead[3] < 0.4 * scaled[3] and dead[5] < 1e-5 * scaled[5]

# %% [markdown]
# With the division about the same passes at every width. Without it, at 64,
# the width of a head in the paper's Base and Large, no less passes; at 256
# about a quarter does, and at 4,096 less than a hundred-thousandth, in at
# least half of all rows. So narrow heads might do without? You will measure
# that below, in training.
#
# ## Backward
#
# Now the way back. An array $\bar o$ of shape $(N, D_h)$ has arrived, the
# gradient of the answers $o$ of one head. Go through the steps in reverse.
# Only two kinds of operation occur, and you know the gradients of both.
#
# **The average, $o = A v$.** A product of matrices (chapter 1):
#
# $$
# \bar v = A^\top \bar o \qquad \bar A = \bar o\, v^\top
# $$
#
# In words: a value gets gradient from all who listened to it, each by its
# weight. A weight's gradient is the dot product of the value with what has
# arrived: how much the loss would change if that value were heard more.
#
# **The softmax, $A = \mathrm{softmax}(S)$**, in each row $i$ by itself:
#
# $$
# \bar S_{ij} = A_{ij} \bigl( \bar A_{ij} - r_i \bigr)
# \qquad
# r_i = \sum_l \bar A_{il}\, A_{il}
# $$
#
# **The scores, $S = q k^\top / \sqrt{D_h}$.** A product once more:
#
# $$
# \bar q = \bar S\, k / \sqrt{D_h}
# \qquad
# \bar k = \bar S^\top q / \sqrt{D_h}
# $$
#
# That is all. But there is a trick in the middle. The sum $r_i$ seems to
# need a pass over two $N \times N$ matrices. Put in what $\bar A$ is, and
# exchange the sums:
#
# $$
# \begin{aligned}
# r_i &= \sum_l \Bigl( \sum_c \bar o_{ic}\, v_{lc} \Bigr) A_{il} \\
#     &= \sum_c \bar o_{ic} \Bigl( \sum_l A_{il}\, v_{lc} \Bigr)
#      = \sum_c \bar o_{ic}\, o_{ic} .
# \end{aligned}
# $$
#
# A dot product of two rows that we have anyway, $D_h$ numbers long and not
# $N$. It does something else, too: now each entry $\bar S_{ij}$ can be
# computed without the rest of its row. Remember that for the end of the
# chapter.

# %%
from tinyvit.autograd import Function


class Attention(Function):
    """One head: q, k, v (N, D_h) -> (N, D_h)."""

    def forward(self, q, k, v):
        self.q, self.k, self.v = q, k, v
        self.scale = q.shape[1] ** -0.5
        self.A = softmax(q @ k.T * self.scale)
        self.out = self.A @ v
        return self.out

    def backward(self, dout):
        dv = self.A.T @ dout
        dA = dout @ self.v.T
        r = (dout * self.out).sum(axis=1, keepdims=True)
        dS = self.A * (dA - r)
        dq = dS @ self.k * self.scale
        dk = dS.T @ self.q * self.scale
        return dq, dk, dv


q, k, v = random.normal(size=(3, 5, 4))  # 5 tokens, 4 wide
gradcheck(lambda *qkv: Attention()(*qkv), [q, k, v])

# %% [markdown]
# Silence: every number of all three gradients agrees with what is measured
# (chapter 1). The trick is no approximation either, and tinyvit's kernel,
# which uses it, gives the same numbers:

# %%
node = Attention()
out = node.forward(q, k, v)
dout = random.normal(size=out.shape)
dq, dk, dv = node.backward(dout)

dA = dout @ v.T
np.testing.assert_allclose(
    (dA * node.A).sum(axis=1), (dout * out).sum(axis=1)
)
qkv = np.concatenate([q, k, v], axis=1)[None]  # one image, one head
theirs = kernels.attention_backward(
    dout[None], qkv, node.A[None, None], out[None], 1
)
np.testing.assert_allclose(
    theirs[0], np.concatenate([dq, dk, dv], axis=1)
)

# %% [markdown]
# ## What do heads look at?
#
# Time to train one. We take `nano` with patches of 4 pixels, so that there
# are 7 x 7 patches and something to see. Its positions are the fixed waves
# of chapter 3, which say from the start what is near to what. The function
# below is chapter 0's loop (chapter 6 explains its parts). It can change the
# attention of a model first: we will train two more that way, to see what
# matters.

# %%
from tinyvit.data import Loader, normalise
from tinyvit.models import ViT, ViTConfig
from tinyvit.nn import Module
from tinyvit.training import (
    Recipe, TrainStep, Workers, evaluate, learning_rate_at,
)

config = ViTConfig.named(
    "nano", image_size=28, patch_size=4, channels=1, classes=10,
    position_embedding="sinusoidal",
)


def trained(change=None, epochs=3):
    """A trained nano and its accuracy on images never seen."""
    model = ViT(config, seed=0)
    if change is not None:
        for block in model.blocks:
            change(block)
    loader = Loader(train, 64, seed=0)
    steps = 10 if fast else epochs * loader.steps
    recipe = Recipe(batch_size=64, beta2=0.98, weight_decay=0.2)
    with Workers(2) as workers:
        one_step = TrainStep(model, recipe, workers)
        for step in range(steps):
            epoch, start = divmod(step, loader.steps)
            if start == 0:
                batches = loader.batches(epoch)
            rate = learning_rate_at(
                step, peak=3e-3, steps=steps,
                warmup_steps=steps // 20, schedule="cosine",
            )
            one_step(*next(batches), step, rate)
        return model, evaluate(model, test, workers).accuracy


model, accuracy = trained()
print(f"right on images never seen: {accuracy:.1%}")
assert accuracy > (0.05 if fast else 0.7)

# %% [markdown]
# `model.attention_maps` gives the weights $A$ of all blocks (layers, as one
# also says) and heads: an array of shape $(L, B, h, N, N)$, with $L$ layers.
# Here is what three tokens of the boot look at in the first and in the last
# layer: the class token, and the patches in the red squares. Each small map
# is a row of $A$, without the class token's share.

# %%
maps = model.attention_maps(normalise(test.images[:200]))
print(maps.shape)
np.testing.assert_allclose(maps.sum(axis=-1), 1, rtol=1e-5)

# %% tags=["drawing"]
def draw_maps(maps, index, tokens):
    """A row for each token of an image, a column for each head."""
    shown = [(0, 0), (0, 1), (3, 0), (3, 1)]  # layer and head
    figure, axes = style.new_figure(5.8, 3.9, 3, 5)
    figure.suptitle("Four heads, four ways to look", fontsize=11,
                    x=0.01, ha="left")
    for row, token in zip(axes, tokens):
        row[0].imshow(test.images[index, :, :, 0], cmap="gray_r")
        if token:
            y, x = np.divmod(token - 1, 7) * np.array(4) + 1.5
            row[0].plot(x, y, "s", mfc="none", mec=style.VERMILION,
                        ms=11, mew=2)
        for axis, (layer, head) in zip(row[1:], shown):
            shares = maps[layer, index, head, token, 1:]
            axis.imshow(shares.reshape(7, 7), cmap="cividis")
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(False)
    for axis, (layer, head) in zip(axes[0, 1:], shown):
        axis.set_title(f"layer {layer + 1}\nhead {head + 1}",
                       fontsize=10)
    for axis, name in zip(axes[:, 0], ("class token", "a patch",
                                       "another")):
        axis.set_ylabel(name, fontsize=10)


draw_maps(maps, index=10, tokens=[0, 1 + 5 * 7 + 1, 1 + 2 * 7 + 4])

# %% [markdown]
# Nobody told the heads what to look for, and they differ from each other.
# (Each map has colours of its own: yellow is its largest share.) In the
# book's web page there is a figure to play with here, of another nano,
# which learned its positions and was trained longer: choose a layer, a
# head and a patch.
#
# <!-- interactive: attention-explorer -->
#
# How much do our heads choose? Without a choice the largest weight of a
# row would be $1/50$. And how much have the two heads of a layer in common?
# Take the smaller of their weights for each key: the sum of these is 1 if
# both look at the same, and 0 if at nothing in common.

# %%
largest = maps.max(axis=-1).mean(axis=(1, 3))  # (layers, heads)
common = np.minimum(maps[:, :, 0], maps[:, :, 1]).sum(axis=-1)
common = common.mean(axis=(1, 2))  # (layers,)
for layer in range(config.depth):
    print(f"layer {layer + 1}: largest weights {largest[layer, 0]:.2f} "
          f"and {largest[layer, 1]:.2f}, in common {common[layer]:.2f}")
assert largest.max() > (1.2 if fast else 6) / 50
assert fast or common.max() < 0.7

# %% [markdown]
# And *how far* does a head look? Take the distance from each patch to each
# that it looks at, and average it with the weights. The paper calls this
# the *mean attention distance* (appendix D.7, and Figure 7 on the right).
# Attention that does not choose would give the mean distance of all pairs
# of patches. In the paper's models some heads of the first layers look only
# at what is near, others across the whole image; in the last layers nearly
# all look far. Guess what ours do.

# %%
place = np.stack(np.divmod(np.arange(49), 7), axis=1) * 4  # pixels
apart = np.linalg.norm(place[:, None] - place[None], axis=2)


def distances(maps):
    """Mean attention distance in pixels, (layers, heads)."""
    shares = maps[:, :, :, 1:, 1:]  # of patches, for patches
    shares = shares / shares.sum(axis=-1, keepdims=True)
    return (shares * apart).sum(axis=-1).mean(axis=(1, 3))


far = distances(maps)
print(f"without a choice {apart.mean():.1f} pixels")
for layer, (first, second) in enumerate(far, 1):
    print(f"layer {layer}: {first:.1f} and {second:.1f}")
assert np.abs(far - apart.mean()).max() < 4  # a patch is 4 wide

# %% [markdown]
# All look about as far as without a choice. Older networks, with
# convolutions, are built to look near. Attention has to find out from
# examples that this is useful. Some heads of the paper's models found out,
# with up to 300 million images. Ours have seen ten thousand, three times
# each.
#
# ## An experiment: must an average choose?
#
# We drew pictures with an average that chooses. But does the *network* need
# it? Multiply all queries by 0. Then all scores are 0 and all weights
# $1/N$, in every block: the tokens get nothing but the plain average of all
# values, always the same for everyone. There are still four MLPs, and
# there are positions. Guess before you look: with choice it reaches the
# accuracy above. And without?

# %%
class QueriesTimes(Module):  # a Module owns weights, as all layers do
    """The layer that makes qkv, its queries times a number."""

    def __init__(self, linear, number):
        self.linear, self.number = linear, number

    def __call__(self, x):
        gain = np.ones(3 * config.width, np.float32)
        gain[: config.width] = self.number
        return self.linear(x) * gain


def queries_times(number):
    def change(block):
        layer = block.attention
        layer.qkv = QueriesTimes(layer.qkv, number)

    return change


same_for_all, plain_average = trained(queries_times(0))
uniform = same_for_all.attention_maps(normalise(test.images[:1]))
np.testing.assert_allclose(uniform, 1 / config.tokens, rtol=1e-5)
print(f"an average that chooses {accuracy:.1%}")
print(f"one that does not       {plain_average:.1%}")
if not fast:
    assert 0.5 < plain_average < accuracy - 0.02

# %% [markdown]
# It is worse, but far from lost. The average over all patches of something
# that an MLP made of each patch and its position says a lot about an image
# of clothes. (It is a bag of patches again, as in chapter 3, this time one
# in which each patch knows its place.) What choosing adds is the rest.
#
# ## What goes wrong
#
# ### No division
#
# Forget $\sqrt{D_h}$, and nothing fails. For heads that are 32 numbers wide
# it is as if the queries were multiplied by $\sqrt{32}$. We can train that,
# too. How sure are the heads before the first step, measured by the largest
# weight of each row? A plain average would give $1/50$.

# %%
unscaled = queries_times(32**0.5)
at_start = {}
for name, change in (("divided", None), ("not divided", unscaled)):
    fresh = ViT(config, seed=0)
    for block in fresh.blocks if change else []:
        change(block)
    largest = fresh.attention_maps(normalise(test.images[:50]))
    at_start[name] = largest.max(axis=-1).mean()
    print(f"{name:12} largest weight {at_start[name]:.2f}")
assert at_start["divided"] < 0.1 and at_start["not divided"] > 1 / 3
_, no_division = trained(unscaled)
print(f"trained: divided {accuracy:.1%}, not {no_division:.1%}")
if not fast:
    assert no_division < accuracy

# %% [markdown]
# The matrices are random, and yet a row gives more than a third, on average,
# to one token of fifty. At this width the gradient is not dead, as we have
# seen, and the model learns, but less well. A head that is sure before it
# has learned anything is sure of something arbitrary, and has that to
# unlearn.
#
# ### Softmax over the wrong axis
#
# Softmax needs an axis, and there are two. Over the keys, every asker
# shares out its attention. Over the queries, every *key* shares out
# itself among those who ask. The shapes are the same. To see it, look at a
# matrix of both kinds, made of the same scores.

# %%
block = model.blocks[1]
z = model.embed(normalise(test.images[10:11]))
qkv = block.attention.qkv(block.norm1(model.blocks[0](z))).data
q, k, _ = np.split(qkv[0], 3, axis=1)
S = q[:, :32] @ k[:, :32].T / np.sqrt(32)  # the first of two heads
sums = softmax(S.T).sum(axis=0)  # of the rows, if it is wrong
kinds = {
    "over keys:\nevery row sums to 1": softmax(S),
    "over queries:\nevery column does": softmax(S.T).T,
}

# %% tags=["drawing"]
figure, axes = style.new_figure(
    6.2, 3.2, 1, 4, width_ratios=[4, 1.3, 4, 1.3]
)
for (name, A), pair in zip(kinds.items(), (axes[:2], axes[2:])):
    pair[0].imshow(A, cmap="cividis", vmin=0, vmax=0.3, aspect="auto")
    pair[0].set_title(name, fontsize=10)
    pair[0].set_xlabel("key")
    pair[0].grid(False)
    pair[1].barh(range(50), A.sum(axis=1), color=style.BLUE)
    pair[1].set_ylim(49.5, -0.5)
    pair[1].set_yticks([])
    pair[1].set_xlim(0, sums.max())
    pair[1].set_xlabel("row's\nsum")
axes[0].set_ylabel("query");

# %%
print(f"rows sum to {sums.min():.2f} up to {sums.max():.2f}")
np.testing.assert_allclose(softmax(S).sum(axis=1), 1, rtol=1e-5)
assert sums.min() < 0.95 and sums.max() > 1.05
if not fast:
    assert sums.min() < 0.7 and sums.max() > 1.5

# %% [markdown]
# Look at the sums of the rows. An answer is no average any more: some
# tokens hear little of anything, others too much. Worse, what one token
# hears now depends on who *else* asks. If the class token asks alone, every
# weight is exactly 1.

# %%
alone = softmax(S[:1].T).T
assert (alone == 1).all()
# As it should be:
np.testing.assert_allclose(softmax(S[:1]), softmax(S)[:1], rtol=1e-5)

# %% [markdown]
# No error tells you, for the shapes are right. What finds the mistake is a
# comparison with something slow and plain, such as the loop for token 5 at
# the beginning. (Some models share out the keys on purpose: *slot
# attention* is one.)
#
# ## What it costs
#
# Every token looks at every other, so there are $N^2$ weights for each head.
# Count *multiply-adds* (chapter 3): a product of an $(a, b)$ and a
# $(b, c)$ matrix takes $abc$ of them. In one block, with an MLP that
# widens each token to $4D$ numbers and brings it back to $D$, as in the
# paper's models:
#
# | what | multiply-adds |
# |---|---|
# | $z\, U_{qkv}$ and $U_{msa}$ | $4 N D^2$ |
# | the MLP | $8 N D^2$ |
# | scores $q k^\top$, all heads | $N^2 D$ |
# | averages $A v$, all heads | $N^2 D$ |
#
# The first two grow with $N$, the last two with $N^2$. They are equal when
# $2 N^2 D = 12 N D^2$, that is at $N = 6D$.
#
# For training, count also the numbers that a block has to keep for the way
# back. In tinyvit these are $16 D$ for each token ($3D$ for queries, keys
# and values, $D$ for the heads' answers, $2D$ for each of two layer norms
# with its result, $8D$ inside the MLP), and the weights of attention, which
# are $h N^2$. $16 N D$ and $h N^2$ are equal at $N = 16 D / h = 16 D_h$.

# %%
from tinyvit.models.cost import cost


def block_cost(image_size):
    """Multiply-adds and kept numbers of one block, and of N x N."""
    options = {"image_size": image_size, "patch_size": 16}
    one = ViTConfig.named("base", depth=1, **options)
    two = ViTConfig.named("base", depth=2, **options)
    N, D, h = one.tokens, one.width, one.heads
    work = cost(two).multiply_adds - cost(one).multiply_adds
    kept = cost(two).activations - cost(one).activations
    assert work == 12 * N * D**2 + 2 * N**2 * D
    assert kept == N * 16 * D + h * N**2
    return N, 2 * N**2 * D / work, h * N**2 / kept


sides = np.arange(64, 1537, 16)
tokens, work, kept = np.array([block_cost(side) for side in sides]).T

# %% tags=["drawing"]
figure, axis = style.new_figure(6, 3)
axis.plot(sides, 100 * kept, color=style.VERMILION)
axis.plot(sides, 100 * work, color=style.BLUE)
axis.text(900, 82, "of the memory", color=style.VERMILION, ha="right")
axis.text(1000, 35, "of the work", color=style.BLUE)
axis.axhline(50, color=style.GREY, linestyle="--", linewidth=1)
axis.axvline(224, color=style.GREY, linestyle=":", linewidth=1)
axis.text(232, 80, "the paper's\n224 pixels", color=style.GREY)
axis.set_xlabel("pixels along a side of the image (base, patch 16)")
axis.set_ylabel("share of the N x N part, %")
axis.set_ylim(0, 100)
axis.set_title("N x N is half of the memory first, then of the work");

# %%
for name, share in (("work", work), ("memory", kept)):
    half = np.flatnonzero(share >= 0.5)[0]
    print(f"half of the {name} at {sides[half]} pixels, "
          f"N = {tokens[half]:,.0f}")
D, D_h = 768, 64
assert sides[work >= 0.5][0] == 1088 and 68**2 + 1 > 6 * D
assert sides[kept >= 0.5][0] == 512 and 32**2 + 1 > 16 * D_h
N, share_of_work, share_of_memory = block_cost(224)
print(f"at 224: {share_of_work:.0%} and {share_of_memory:.0%}")
assert share_of_work < 0.05 and 0.15 < share_of_memory < 0.18

# %% [markdown]
# In the paper's Base model, at 224 pixels, the famous square is less than a
# twentieth of the work and about a sixth of the memory. From 512 pixels on
# it is more than half of what a block keeps for training, and from 1,088 on
# more than half of its work. So the first thing to get rid of is the memory.
#
# ## Online softmax: N x N never exists
#
# We want $o$, which has $N D_h$ numbers, and for that make $A$ with $N^2$.
# Does all of $A$ have to be there at once? Rows are independent, so one may
# take some queries at a time. But can we also go through the *keys* block
# by block, and forget each block? For one query with scores $s_j$ and its
# answer $o$, of shape $(D_h{,})$ like each value $v_j$,
#
# $$
# o = \frac{\sum_j e^{s_j} v_j}{\sum_j e^{s_j}} .
# $$
#
# Two sums over $j$: both can grow key by key. If only there were not the
# overflow of chapter 2: we have to subtract the largest score, and we know
# that only at the end. Here is the way out. Above and below the line we may
# use any number $m$ in place of the largest score:
#
# $$
# o = \frac{\sum_j e^{s_j - m} v_j}{\sum_j e^{s_j - m}} = \frac{u}{t}
# $$
#
# So keep three things for each query: $m$, the largest score *so far*; $t$,
# the sum below; and $u$, the vector above, both with that $m$. When a new
# block of keys comes with a larger score, let $m'$ be the new maximum. The
# old terms were made with the wrong one. But
#
# $$
# e^{s_j - m'} = e^{s_j - m} \cdot e^{m - m'},
# $$
#
# with the same last factor for all of them. So multiply the sums by it, and
# go on:
#
# $$
# \begin{aligned}
# t' &= t\, e^{m - m'} + \sum_{j \text{ new}} e^{s_j - m'} \\
# u' &= u\, e^{m - m'} + \sum_{j \text{ new}} e^{s_j - m'} v_j
# \end{aligned}
# $$
#
# Begin with $m = -\infty$, $t = 0$ and $u = 0$: the first factor is then
# $e^{-\infty} = 0$, and there is no special case.

# %%
def online_attention(q, k, v, block=64):
    """softmax(q k^T / sqrt(D_h)) v; the scores come in blocks."""
    scale = q.shape[1] ** -0.5
    m = np.full((len(q), 1), -np.inf, q.dtype)
    t = np.zeros_like(m)
    u = np.zeros((len(q), v.shape[1]), q.dtype)
    for start in range(0, len(k), block):
        scores = q @ k[start : start + block].T * scale  # (N, block)
        larger = np.maximum(m, scores.max(axis=1, keepdims=True))
        shrink = np.exp(m - larger)
        e = np.exp(scores - larger)
        t = t * shrink + e.sum(axis=1, keepdims=True)
        u = u * shrink + e @ v[start : start + block]
        m = larger
    return u / t, m + np.log(t)


N = 512 if fast else 2048
q, k, v = random.normal(size=(3, N, 64)).astype(np.float32)
qkv = np.concatenate([q, k, v], axis=1)[None]
full, A = kernels.attention_forward(qkv, 1, N)
for block in (1, 64, 100, N):
    online, _ = online_attention(q, k, v, block)
    difference = np.abs(online - full[0]).max()
    print(f"blocks of {block:5,}: differs by at most {difference:.0e}")
    assert difference < 1e-5

# %% [markdown]
# Blocks of any size give the same, but for the rounding of float32. This is
# no approximation. Let us see on one query how $m$ and $t$ run, with few
# keys, whose scores mostly rise (which is the hard case):

# %%
scores = np.array([-1.0, 0.5, 0.0, 2.0, 3.0, 100.0])
m, t = -np.inf, 0.0
for s in scores:
    larger = max(m, s)
    t = t * np.exp(m - larger) + np.exp(s - larger)
    m = larger
    print(f"score {s:6.1f}: m = {m:6.1f}, t = {t:.4f}")
assert np.isclose(m + np.log(t), np.log(np.exp(scores).sum()))

# %% [markdown]
# And the memory? Python can say what the largest amount was that a function
# held at one time.

# %%
def peak_megabytes(function):
    tracemalloc.start()
    kept = function()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    del kept
    return peak


peaks = {
    "N x N": peak_megabytes(
        lambda: kernels.attention_forward(qkv, 1, N)
    ),
    "online": peak_megabytes(lambda: online_attention(q, k, v)),
}
for name, peak in peaks.items():
    print(f"{name:6} {peak:3.0f} MB")
print(f"A alone is {A.nbytes / 1e6:.0f} MB")
assert peaks["N x N"] > A.nbytes / 1e6
assert peaks["online"] < peaks["N x N"] / (1.2 if fast else 5)

half = N // 2
less = peak_megabytes(
    lambda: kernels.attention_forward(qkv[:, :half], 1, half)
)
least = peak_megabytes(
    lambda: online_attention(q[:half], k[:half], v[:half])
)
assert peaks["N x N"] > 3 * less and peaks["online"] < 2.2 * least

# %% [markdown]
# That is for one head of one image. From half as many tokens to these, the
# first grows nearly fourfold, the second twofold.
#
# What of the way back, which wants $A$? It need not be kept. The function
# also returned $\ell = m + \ln t$, one number for each query: the logarithm
# of $\sum_j e^{s_j}$. With it any entry can be made again when it is
# needed, by itself:
#
# $$
# A_{ij} = e^{S_{ij} - \ell_i}
# $$
#
# And remember the trick of the backward pass: $r_i = \bar o_i \cdot o_i$
# needs no row of $A$ either. So backward, too, can go block by block.

# %%
_, logsumexp = online_attention(q, k, v)
S = q @ k.T / 8
np.testing.assert_allclose(
    np.exp(S - logsumexp), A[0, 0], atol=1e-5
)

# %% [markdown]
# The price: the scores are computed twice. On a GPU that can be cheaper
# than to write them to memory and read them again, and attention written
# in this way is called *FlashAttention*. In tinyvit the CPU's kernel keeps
# $A$, and the GPU's does not. It runs this loop, with some queries in fast
# memory and keys and values passing by. [Chapter 8](08_kernels.ipynb) runs
# such a kernel and counts what it reads.
#
# ## Exercises
#
# ### Exercise 4.1: don't look there
#
# A language model that writes must not look at words that are yet to come.
# Write attention for one head in which query $i$ may look at key $j$ only
# where `allowed[i, j]` is true. The weights of the others are 0, and those
# that are left sum to 1.

# %% tags=["exercise"]
def masked_attention(q, k, v, allowed):
    """q, k, v (N, D_h), allowed (N, N) of bool -> (N, D_h)."""
    ...


# %% tags=["check"]
def check_masked(masked_attention):
    """Says whether the function is right, and if not, why."""
    q, k, v = np.random.default_rng(4).normal(size=(3, 6, 4))
    allowed = np.tril(np.ones((6, 6), bool))  # itself and earlier ones
    out = masked_attention(q, k, v, allowed)
    if out is None:
        print("Not yet: the function returns nothing.")
        return False
    if np.shape(out) != v.shape:
        print(f"Not yet: the answers are {v.shape}, as v is.")
        return False
    S = q @ k.T / np.sqrt(4)
    if np.allclose(out, softmax(S) @ v):
        print("Not yet: all tokens are looked at, allowed or not.")
        return False
    if np.allclose(out, softmax(S) * allowed @ v):
        print("Not yet: the weights that are left must sum to 1 again.")
        return False
    if np.allclose(out, softmax(S * allowed) @ v):
        print("Not yet: a score of 0 is no weight of 0, for e^0 = 1. "
              "Which score has the weight 0?")
        return False
    masked = np.where(allowed, S, -np.inf)
    if np.allclose(out, softmax(masked.T).T @ v):
        print("Not yet: softmax goes over the keys, the last axis.")
        return False
    turned = np.where(allowed.T, S, -np.inf)
    if np.allclose(out, softmax(turned) @ v):
        print("Not yet: row i of allowed belongs to query i.")
        return False
    undivided = softmax(2 * masked) @ v  # sqrt(4) is 2
    if np.allclose(out, undivided):
        print("Not yet: the scores are not divided by sqrt(D_h).")
        return False
    if np.isnan(out).any():
        print("Not yet: an answer is not a number. Is it the others "
              "that are left out? Where allowed is true, it may look.")
        return False
    if not np.allclose(out, softmax(masked) @ v):
        print("Not yet: before softmax, change the scores of those "
              "that may not be looked at. To what? e^score must be 0.")
        return False
    print("Right!")
    return True


check_masked(masked_attention);

# %% tags=["solution"]
def masked_attention(q, k, v, allowed):
    """q, k, v (N, D_h), allowed (N, N) of bool -> (N, D_h)."""
    scores = q @ k.T / np.sqrt(q.shape[1])
    return softmax(np.where(allowed, scores, -np.inf)) @ v


check_masked(masked_attention);

# %% [markdown]
# ### Exercise 4.2: two halves
#
# Two machines share the work: each has half of the keys and values, and
# gives for each query its own $m$, $t$ (both of shape $(N, 1)$) and $u$, of
# shape $(N, D_h)$, as above. Merge them: return $m$, $t$ and $u$ for all
# keys.

# %% tags=["exercise"]
def merge(first, second):
    """(m, t, u) and (m, t, u) of two halves -> (m, t, u) of all."""
    ...


# %% tags=["check"]
def check_merge(merge):
    """Says whether the function is right, and if not, why."""
    def part(scores, values):
        m = scores.max(axis=1, keepdims=True)
        e = np.exp(scores - m)
        return m, e.sum(axis=1, keepdims=True), e @ values

    random = np.random.default_rng(5)
    scores = 5 * random.normal(size=(6, 10))
    values = random.normal(size=(10, 4))
    halves = (part(scores[:, :5], values[:5]),
              part(scores[:, 5:], values[5:]))
    found = merge(*halves)
    if found is None:
        print("Not yet: the function returns nothing.")
        return False
    if len(found) != 3:
        print("Not yet: return three arrays: m, t and u.")
        return False
    m, t, u = found
    right_m, right_t, right_u = part(scores, values)
    if np.allclose(t, halves[0][1] + halves[1][1]):
        print("Not yet: the sums were made with different m. Bring "
              "both to the larger one before you add them.")
        return False
    if np.shape(m) != (6, 1) or not np.allclose(m, right_m):
        print("Not yet: m is the larger of both, for each query.")
        return False
    if not np.allclose(t, right_t):
        print("Not yet: t of each half shrinks by exp(its m - new m). "
              "Either half may have the larger m.")
        return False
    if np.allclose(u, right_u / right_t):
        print("Not yet: leave u undivided, or it can't merge again.")
        return False
    if np.shape(u) != (6, 4) or not np.allclose(u, right_u):
        print("Not yet: u shrinks by the same factors as t.")
        return False
    print("Right!")
    return True


check_merge(merge);

# %% tags=["solution"]
def merge(first, second):
    """(m, t, u) and (m, t, u) of two halves -> (m, t, u) of all."""
    m = np.maximum(first[0], second[0])
    shrink = [np.exp(half[0] - m) for half in (first, second)]
    t = first[1] * shrink[0] + second[1] * shrink[1]
    u = first[2] * shrink[0] + second[2] * shrink[1]
    return m, t, u


check_merge(merge);

# %% [markdown]
# ### Exercise 4.3: find the mistake
#
# Somebody wrote `split_heads` in one line. The shape is right and nothing
# fails. What is in a "head" now? Mend it.

# %% tags=["exercise"]
def short_split(x, heads):
    """(B, N, D) -> (B, h, N, D_h)."""
    return x.reshape(len(x), heads, x.shape[1], -1)  # mend me


# %% tags=["check"]
def check_split(short_split):
    """Says whether the function is right, and if not, why."""
    x = np.arange(2 * 4 * 6).reshape(2, 4, 6)  # 4 tokens, 6 wide
    found = short_split(x, 3)
    if np.shape(found) != (2, 3, 4, 2):
        print(f"Not yet: the shape is (2, 3, 4, 2), not "
              f"{np.shape(found)}.")
        return False
    if np.array_equal(found[0, 0, :2].ravel(), [0, 1, 2, 3]):
        print("Not yet: the second token of head 1 has numbers of the "
              "first. Split the last axis in two, then move one part.")
        return False
    if np.array_equal(found[0, 0, 0], [0, 3]):
        print("Not yet: a head takes numbers that stand side by side, "
              "so the heads come first when the last axis is split.")
        return False
    if not np.array_equal(found, split_heads(x, 3)):
        print("Not yet: head 3 of token 1 should have its numbers "
              f"{x[0, 0, 4:6]}, not {found[0, 2, 0]}.")
        return False
    print("Right!")
    return True


check_split(short_split);

# %% tags=["solution"]
def short_split(x, heads):
    """(B, N, D) -> (B, h, N, D_h)."""
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


check_split(short_split);

# %% [markdown]
# ## Further reading
#
# - Dosovitskiy et al. (2020),
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): appendix A, with
#   the four equations; appendix D.7 and Figure 7 on the attention distance.
# - Vaswani et al. (2017),
#   [arXiv:1706.03762](https://arxiv.org/abs/1706.03762): sections 3.2 and
#   4, and the footnote on why to divide.
# - Buades, Coll and Morel, *A non-local algorithm for image denoising*
#   (2005): the average by content of our noisy boot, twelve years before the
#   Transformer.
# - Milakov and Gimelshein, *Online normalizer calculation for softmax*
#   (2018), [arXiv:1805.02867](https://arxiv.org/abs/1805.02867), and Dao
#   et al., *FlashAttention* (2022),
#   [arXiv:2205.14135](https://arxiv.org/abs/2205.14135), section 3.1.
# - Locatello et al., *Object-Centric Learning with Slot Attention* (2020),
#   [arXiv:2006.15055](https://arxiv.org/abs/2006.15055): softmax over the
#   queries, on purpose.
# - `tinyvit/kernels/cpu/attention.py`: you can read it now.
#
# Next: [the encoder and the whole
# ViT](05_the_encoder_and_the_whole_vit.ipynb).
