# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Real weights
#
# **The question:** how do weights that others have trained get into your
# model, and how do you know that they arrived?
#
# ## Where we are
#
# You have built the whole model ([chapter
# 5](05_the_encoder_and_the_whole_vit.ipynb)), trained it ([chapter
# 7](07_training_for_real.ipynb)) and made it fast ([chapter
# 8](08_kernels.ipynb)). But nobody trains the large ViTs at home: the
# paper's largest set has 300 million images. Weights are published instead,
# as checkpoints, by the paper's authors at Google and by two libraries,
# *timm* and Hugging Face's *transformers*. This chapter reads all three
# kinds. At the end it takes apart attention rollout, the pictures of where
# a model looks that you saw in [chapter
# 0](00_an_image_is_worth_16x16_words.ipynb).
#
# The official files are large (four bytes for each of some 86 million
# numbers of ViT-Base), and this chapter should run without a network. So we
# play both sides: we train a small model as in chapter 7, write its weights
# as each of the three would, and read them back.
#
# ## The idea
#
# A checkpoint is a list of names, each with an array. Your model has names
# and arrays, too. They hold the same numbers, under other names, in another
# order of the axes. So loading is a table: *this* name is *that* name,
# turned *so*. The table is short. What makes the task hard is that most
# mistakes in it raise no error.
#
# Here is one array as we and the three others hold it: chapter 4's matrix
# for queries, keys and values, in a block of the model that we shall train.
# Each number has the colour of its column in ours: dark is the first query,
# bright is the last value.

# %%
import os

import numpy as np

from tinyvit.analysis import style
from tinyvit.models import ViT, ViTConfig

config = ViTConfig.named(
    "nano", image_size=28, patch_size=4, channels=1, classes=10
)
heads, D, P = config.heads, config.width, config.patch_size
D_h = D // heads

# %% tags=["drawing"]
qkv = np.tile(np.arange(3.0 * D), (D, 1))  # each holds its column
by_head = [
    part.reshape(D, heads, D_h) for part in np.split(qkv, 3, axis=1)
]
figure, axes = style.new_figure(
    6, 2.9, 1, 4, width_ratios=[2.6, 1, 1.1, 3]
)
gap = np.full((D, 6), np.nan)
halves = [one[:, i] for one in by_head for i in range(heads)]
shown = [
    ("ours:\n(64, 192)", qkv),
    ("timm:\n(192, 64)", qkv.T),
    ("Hugging Face:\n3 of (64, 64)", np.concatenate(
        [np.r_[part.T, gap.T] for part in np.split(qkv, 3, axis=1)]
    )[:-6]),
    ("Google:\n3 of (64, 2, 32)", np.concatenate(
        [np.c_[half, gap] for half in halves], axis=1
    )[:, :-6]),
]
for axis, (title, matrix) in zip(axes, shown):
    axis.imshow(matrix, cmap="cividis", vmin=0, vmax=3 * D)
    axis.set_title(title, fontsize=9)
    axis.axis("off")
figure.suptitle("One matrix, held in four ways", x=0.01, ha="left",
                fontsize=11);

# %% [markdown]
# Now the model, trained as in chapter 7.

# %%
from tinyvit.data import Loader, load_dataset, normalise
from tinyvit.training import (
    Recipe,
    TrainStep,
    Workers,
    learning_rate_at,
)

fast = "TINYVIT_FAST" in os.environ
train, test = load_dataset("fashion-mini")
model = ViT(config, seed=0)
loader = Loader(train, 64, seed=0)
epochs = 4
steps = 20 if fast else epochs * loader.steps

recipe = Recipe(batch_size=64, beta2=0.98, weight_decay=0.2)
done = 0
with Workers(2) as workers:
    one_step = TrainStep(model, recipe, workers)
    for epoch in range(epochs):
        for batch, answers in loader.batches(epoch):
            if done < steps:
                rate = learning_rate_at(
                    done, peak=3e-3, steps=steps,
                    warmup_steps=steps // 20, schedule="cosine",
                )
                one_step(batch, answers, done, rate)
                done += 1

# %% [markdown]
# From now on these are "the weights that others have trained". All that we
# know of them shall come out of files. We also keep what the model answers,
# to compare with: a row of ten numbers, the *logits*, for each image, and
# the class of the largest one.

# %%
from tinyvit import no_grad

count = 100 if fast else 1000
images, labels = test.images[:count], test.labels[:count]
x = normalise(images)  # pixels from -1 to 1


def logits_of(model, x):
    """(B, H, W, C) -> (B, K), 250 images at a time."""
    with no_grad():
        parts = [
            model(x[i : i + 250]).data for i in range(0, len(x), 250)
        ]
    return np.concatenate(parts)


def accuracy(logits):
    return np.mean(logits.argmax(axis=1) == labels)


original = logits_of(model, x)
right = accuracy(original)
print(f"{right:.1%} right; logits up to {np.abs(original).max():.1f}")
if not fast:
    assert right > 0.78

# %% [markdown]
# Here is our side of the table: the first of the four blocks. $D = 64$ is
# the width, and the MLP (chapter 5) is twice as wide.

# %%
ours = {
    name: parameter.data
    for name, parameter in model.named_parameters()
}
for name, array in ours.items():
    if name.startswith("blocks.0."):
        print(f"{name:30} {array.shape}")
print(f"... and so on: {len(ours)} arrays")
assert len(ours) == 4 + 12 * config.depth + 4

# %% [markdown]
# ## The mathematics: where a transpose comes from
#
# **A linear layer.** We and the paper write a vector as a row $x$ of $n$
# numbers, and the layer as $y = xW + b$ with $W$ of shape $(n, m)$: (in,
# out). PyTorch, on which timm and transformers are built, keeps $W'$ of
# shape $(m, n)$, (out, in), and computes $y = x W'^\top + b$. In numbers:
#
# $$
# y_j = \sum_i x_i W_{ij} + b_j = \sum_i x_i W'_{ji} + b_j .
# $$
#
# It must hold for every $x$, so $W'_{ji} = W_{ij}$, that is $W' = W^\top$.
# Google's code, which is built on a library called JAX, has (in, out) like
# ours.
#
# **Queries, keys and values.** Attention (chapter 4) multiplies with three
# matrices $(D, D)$, and cuts each result into $h$ heads of $D_h = D/h$
# numbers. We keep the three side by side, $(D, 3D)$. So our column
#
# $$
# c = s D + i D_h + e
# $$
#
# belongs to $s$ (0 query, 1 key, 2 value), head $i$, and number $e$ within
# the head. timm has them together too, transposed: $(3D, D)$. Hugging Face
# has three matrices. Google has three arrays of shape $(D, h, D_h)$: $i$
# and $e$ have an axis each, and nothing moves in memory, since counting
# through $(i, e)$ row by row is counting through $i D_h + e$.
#
# **Patches.** Our matrix $E$ (chapter 3) has a row for each number of a
# patch. With $C$ channels, pixel row $r$, column $q$ and channel $k$ stand
# in row $(rP + q)\,C + k$. The others see a convolution in it and call its
# weights a *kernel* (no kin of chapter 8's), with an axis for each of $r$,
# $q$, $k$ and $D$: Google $(P, P, C, D)$, which is called HWIO (height, width, in, out),
# PyTorch $(D, C, P, P)$: OIHW.
#
# | parameter | ours | Google | timm | Hugging Face |
# |---|---|---|---|---|
# | patches | $(P^2 C, D)$ | $(P, P, C, D)$ | $(D, C, P, P)$ | as timm |
# | q, k, v | $(D, 3D)$ | 3 of $(D, h, D_h)$ | $(3D, D)$ | timm's, cut in 3 |
# | their biases | $(3D)$ | 3 of $(h, D_h)$ | $(3D)$ | 3 of $(D)$ |
# | attention out | $(D, D)$ | $(h, D_h, D)$ | $(D, D)$, transposed | as timm |
# | other matrices | (in, out) | (in, out) | (out, in) | (out, in) |
# | other vectors | one axis | the same | the same | the same |
#
# ## The code: three formats by hand
#
# **timm** is nearest to ours: each array is one of theirs, matrices
# transposed. A table from our names to theirs, for one block and for the
# rest:

# %%
BLOCK = {
    "norm1": "norm1", "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj", "norm2": "norm2",
    "mlp.linear1": "mlp.fc1", "mlp.linear2": "mlp.fc2",
}
LAST = {"gamma": "weight", "beta": "bias",
        "weight": "weight", "bias": "bias"}


def kernel_oihw(matrix):
    """E (P * P * C, D) -> (D, C, P, P)."""
    return matrix.reshape(P, P, -1, D).transpose(3, 2, 0, 1)


def to_timm(ours):
    """Our parameters, by timm's names and in timm's shapes."""
    E = ours["patch_embedding.projection.weight"]
    b = ours["patch_embedding.projection.bias"]
    theirs = {
        "cls_token": ours["class_token"],
        "pos_embed": ours["position.embedding"],
        "patch_embed.proj.weight": kernel_oihw(E),
        "patch_embed.proj.bias": b,
    }
    layers = {"norm": "norm", "head": "head"}
    for i in range(config.depth):
        for our, their in BLOCK.items():
            layers[f"blocks.{i}.{our}"] = f"blocks.{i}.{their}"
    for name, array in ours.items():
        layer, _, last = name.rpartition(".")
        if layer in layers:
            theirs[f"{layers[layer]}.{LAST[last]}"] = array.T
    return theirs


timm = to_timm(ours)
assert len(timm) == len(ours)
assert timm["blocks.0.attn.qkv.weight"].shape == (3 * D, D)
assert timm["patch_embed.proj.weight"].shape == (D, 1, P, P)

# %% [markdown]
# (The transpose of a vector is the vector itself, so `array.T` serves
# biases as well.)
#
# **Hugging Face** has longer names, and the queries, keys and values
# apart. Starting from timm's arrays, only `attn.qkv` must be cut in three,
# along its first axis:

# %%
HUGGING_FACE = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "blocks": "encoder.layer", "norm1": "layernorm_before",
    "norm2": "layernorm_after", "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
}


def to_hugging_face(timm):
    """timm's arrays as transformers has them."""
    theirs = {}
    for name, array in timm.items():
        for old, new in HUGGING_FACE.items():
            name = name.replace(old, new)
        if name.startswith("norm."):
            name = name.replace("norm.", "layernorm.")
        if name.startswith("head."):
            theirs[name.replace("head.", "classifier.")] = array
        elif "attn.qkv" in name:
            for part, which in zip(
                np.split(array, 3), ("query", "key", "value")
            ):
                new = f"attention.attention.{which}"
                theirs[f"vit.{name.replace('attn.qkv', new)}"] = part
        else:
            theirs[f"vit.{name}"] = array
    return theirs


hugging_face = to_hugging_face(timm)
assert len(hugging_face) == len(timm) + 4 * config.depth
for name, array in hugging_face.items():
    if "layer.0." in name and ".attention." in name:
        print(f"{name:58} {array.shape}")

# %% [markdown]
# **Google** numbers the four parts of a block in the order in which they
# are made, 0 to 3, and says *kernel* and *scale* for *weight* and *gamma*.
# Matrices stay as they are.

# %%
def to_google(ours):
    """Our parameters, by Google's names and in Google's shapes."""
    E = ours["patch_embedding.projection.weight"]
    theirs = {
        "cls": ours["class_token"],
        "Transformer/posembed_input/pos_embedding":
            ours["position.embedding"],
        "embedding/kernel": E.reshape(P, P, -1, D),
        "embedding/bias": ours["patch_embedding.projection.bias"],
        "Transformer/encoder_norm/scale": ours["norm.gamma"],
        "Transformer/encoder_norm/bias": ours["norm.beta"],
        "head/kernel": ours["head.weight"],
        "head/bias": ours["head.bias"],
    }
    for i in range(config.depth):
        block = f"blocks.{i}."
        one = {
            name.removeprefix(block): array
            for name, array in ours.items() if name.startswith(block)
        }
        for name, array in google_block(one).items():
            theirs[f"Transformer/encoderblock_{i}/{name}"] = array
    return theirs


# %%
def google_block(one):
    """The parameters of one block as Google has them."""
    attention = "MultiHeadDotProductAttention_1"
    theirs = {
        "LayerNorm_0/scale": one["norm1.gamma"],
        "LayerNorm_0/bias": one["norm1.beta"],
        f"{attention}/out/kernel":
            one["attention.out.weight"].reshape(heads, D_h, D),
        f"{attention}/out/bias": one["attention.out.bias"],
        "LayerNorm_2/scale": one["norm2.gamma"],
        "LayerNorm_2/bias": one["norm2.beta"],
        "MlpBlock_3/Dense_0/kernel": one["mlp.linear1.weight"],
        "MlpBlock_3/Dense_0/bias": one["mlp.linear1.bias"],
        "MlpBlock_3/Dense_1/kernel": one["mlp.linear2.weight"],
        "MlpBlock_3/Dense_1/bias": one["mlp.linear2.bias"],
    }
    weights = np.split(one["attention.qkv.weight"], 3, axis=1)
    biases = np.split(one["attention.qkv.bias"], 3)
    for part, weight, bias in zip(
        ("query", "key", "value"), weights, biases
    ):
        theirs[f"{attention}/{part}/kernel"] = weight.reshape(
            D, heads, D_h
        )
        theirs[f"{attention}/{part}/bias"] = bias.reshape(heads, D_h)
    return theirs


google = to_google(ours)
sizes = {
    sum(array.size for array in arrays.values())
    for arrays in (ours, timm, hugging_face, google)
}
print(sizes)
assert len(sizes) == 1  # not one number more or less

# %% [markdown]
# ### Two kinds of files
#
# Google's files end in `.npz`: an archive of NumPy arrays, which
# `np.savez` writes. The other two are *safetensors*, a format that is
# quickly explained: 8 bytes say how long the header is; the header is a
# JSON text that says of each array its type, its shape, and where it lies;
# then come the numbers. That is all. So we write one ourselves, and let the
# format's own library read it.

# %%
import json
import tempfile
from pathlib import Path

from safetensors.numpy import load_file

folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
os.chdir(folder.name)  # for short names; Python removes it at the end


def write_safetensors(path, arrays):
    """Header's length, header, numbers."""
    header, parts, place = {}, [], 0
    for name, array in arrays.items():
        numbers = np.ascontiguousarray(array, "<f4").tobytes()
        header[name] = {
            "dtype": "F32", "shape": array.shape,
            "data_offsets": [place, place + len(numbers)],
        }
        parts.append(numbers)
        place += len(numbers)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at 8, 16, 24 ...
    length = len(text).to_bytes(8, "little")
    Path(path).write_bytes(length + text + b"".join(parts))


np.savez("google.npz", **google)
write_safetensors("timm.safetensors", timm)
read = load_file("timm.safetensors")
assert read.keys() == timm.keys()
for name, array in timm.items():
    np.testing.assert_array_equal(read[name], array)

# %% [markdown]
# ## The same in tinyvit
#
# `tinyvit.load_pretrained` opens a file, recognises by its names whose it
# is, reads the shape of the model off the shapes of the arrays, and fills
# it.

# %%
from tinyvit import load_pretrained

loaded = load_pretrained("google.npz")
for field in ("image_size", "patch_size", "width", "depth", "heads",
              "mlp_width", "classes", "gelu", "norm_eps"):
    print(f"{field:10} {getattr(loaded.config, field)}")
    assert getattr(loaded.config, field) == getattr(config, field)
np.testing.assert_allclose(logits_of(loaded, x), original, atol=1e-4)

# %% [markdown]
# It arrived. Nobody had to say that there are 4 blocks and 2 heads: the
# first is counted, the second is an axis. Now timm's file.

# %%
from tinyvit.errors import InputError

try:
    load_pretrained("timm.safetensors")
except InputError as error:
    refused = str(error)
print(refused)
assert "does not say how many heads" in refused

# %% [markdown]
# Think about why. In $(3D, D)$ no axis belongs to the heads: 64 numbers
# may be 2 heads of 32, or 4 of 16, and all shapes are the same. For the
# published ViTs, whose heads are nearly always 64 wide, tinyvit knows it.
# For others, what the arrays don't say must stand beside them, in a file
# `config.json`: the heads, and which GELU. (We come to that one.)

# %%
def write_folder(name, arrays, **settings):
    """A folder as timm and Hugging Face publish it."""
    Path(name).mkdir(exist_ok=True)
    write_safetensors(f"{name}/model.safetensors", arrays)
    Path(f"{name}/config.json").write_text(json.dumps(settings))
    return name


write_folder(
    "timm", timm, model_args={"num_heads": 2, "act_layer": "gelu_tanh"}
)
write_folder(
    "hugging_face", hugging_face, num_attention_heads=2,
    hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6,
)
arrived = {
    source: load_pretrained(source)
    for source in ("google.npz", "timm", "hugging_face")
}
for source, other in arrived.items():
    apart = np.abs(logits_of(other, x) - original).max()
    print(f"{source:12} {'equal' if apart < 1e-4 else apart}")
    assert apart < 1e-4

# %% [markdown]
# tinyvit has the tables that you wrote, as `Rules`. Applied to our
# parameters they give your arrays, name by name and number by number.

# %%
from tinyvit.models.published import google as google_source
from tinyvit.models.published import timm as timm_source
from tinyvit.models.published.rules import arrays_of

for source, mine in ((google_source, google), (timm_source, timm)):
    theirs = arrays_of(ours, source.rules(config))
    assert theirs.keys() == mine.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(array, mine[name])

# %% [markdown]
# ## A round trip proves nothing
#
# Are we done? We wrote the files with a table, and read them with the same
# table. Suppose we had forgotten a transpose, in writing *and* in reading.
# The numbers would come back all the same, in the right places.
#
# What proves something is a comparison with *the others' program*: their
# arrays, their arithmetic, their answer. So here is a ViT as PyTorch's
# people would write it, on timm's arrays. It never sees our tables. Images
# are (B, C, H, W) there, patches are multiplied with an OIHW kernel, and
# every matrix is (out, in).

# %%
def norm(z, gain, bias, eps):
    centred = z - z.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * gain + bias


def tanh_gelu(x):
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + np.tanh(inner))


def attend(q, k, v):
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ v


# %%
def their_program(w, images, heads, eps=1e-6):
    """A ViT on timm's arrays w: (B, C, H, W) -> (B, K)."""
    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def normed(x, name):
        return norm(x, w[f"{name}.weight"], w[f"{name}.bias"], eps)

    kernel = w["patch_embed.proj.weight"]
    B, C, height, width = images.shape
    D, _, P, _ = kernel.shape
    cells = images.reshape(B, C, height // P, P, width // P, P)
    # For each b, i, j, d the sum over the letters that are missing on
    # the right, c, u, v, of cells[b,c,i,u,j,v] * kernel[d,c,u,v]:
    z = np.einsum("bciujv,dcuv->bijd", cells, kernel)
    z = z + w["patch_embed.proj.bias"]
    front = np.broadcast_to(w["cls_token"], (B, 1, D))
    z = np.concatenate([front, z.reshape(B, -1, D)], axis=1)
    z = z + w["pos_embed"]
    depth = len([name for name in w if name.endswith("attn.qkv.bias")])
    for i in range(depth):
        block = f"blocks.{i}"
        qkv = linear(normed(z, f"{block}.norm1"), f"{block}.attn.qkv")
        qkv = qkv.reshape(B, -1, 3, heads, D // heads)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        mixed = attend(q, k, v).swapaxes(1, 2).reshape(z.shape)
        z = z + linear(mixed, f"{block}.attn.proj")
        hidden = linear(normed(z, f"{block}.norm2"), f"{block}.mlp.fc1")
        z = z + linear(tanh_gelu(hidden), f"{block}.mlp.fc2")
    return linear(normed(z[:, 0], "norm"), "head")


channels_first = x[:50].transpose(0, 3, 1, 2)
theirs = their_program(timm, channels_first, heads=2)
apart = np.abs(theirs - original[:50]).max()
print(f"another program, the same arrays: {apart:.0e} apart")
assert apart < 1e-4

# %% [markdown]
# Two programs that share nothing but the file give the same logits, up to
# rounding. *That* is agreement, and tinyvit's tests do it with models of
# random weights in timm, in transformers, and in one that is built on JAX
# as Google's is: files read, logits compared. (The published files
# themselves could not be fetched where this was written. The last section
# has the commands to try it.) With a forgotten transpose in the file,
# agreement is gone:

# %%
W = ours["blocks.0.attention.out.weight"]
forgetful = {**timm, "blocks.0.attn.proj.weight": W}
theirs = their_program(forgetful, channels_first, heads=2)
apart = np.abs(theirs - original[:50]).max()
print(f"one forgotten transpose: {apart:.1f} apart")
assert apart > (0.01 if fast else 1)

# %% [markdown]
# ## Two traps in the numbers
#
# Arrays are not everything: programs differ in their arithmetic.
#
# **Which GELU?** Chapter 2 had it in two forms: the exact one, $x\,\Phi(x)$
# with the bell curve's area $\Phi$, and an approximation with tanh. Google
# uses tanh; timm and Hugging Face are exact.
#
# **Which epsilon?** Layer norm divides by $\sqrt{\sigma^2 + \varepsilon}$,
# with $\sigma^2$ for the variance, chapter 2's $\langle c^2 \rangle$.
# Google and timm have $\varepsilon = 10^{-6}$, Hugging Face $10^{-12}$. The
# slope of $(1 + u)^{-1/2}$ at $u = 0$ is $-\tfrac12$, so for a small $u =
# \varepsilon / \sigma^2$
#
# $$
# \frac{1}{\sqrt{\sigma^2 + \varepsilon}}
# = \frac{(1 + u)^{-1/2}}{\sigma}
# \approx \frac{1}{\sigma}
#   \left(1 - \frac{\varepsilon}{2 \sigma^2}\right) ,
# $$
#
# and $\varepsilon$ matters where $\sigma$ is small.

# %%
from math import erf

points = np.linspace(-5, 5, 1001)
area = [0.5 + 0.5 * erf(point / 2**0.5) for point in points]
difference = np.abs(points * area - tanh_gelu(points)).max()
print(f"the two GELUs differ by at most {difference:.1e}")
with no_grad():
    variance = model.embed(x[:250]).data.var(axis=-1)
print(f"smallest variance of a token {variance.min():.4f}")
shrinks = 5e-7 / variance.min()
print(f"epsilon 1e-6 shortens it, normed, by the share {shrinks:.0e}")
assert 1e-4 < difference < 1e-3
assert variance.min() < 0.1

# %% [markdown]
# Both are tiny. What happens to them on the way through the model? We
# change one thing at a time, and compare the tokens after each block.

# %%
import dataclasses


def altered(edit=None, **changes):
    """The same weights in a model that is changed, or edited."""
    other = ViT(dataclasses.replace(config, **changes))
    for name, parameter in other.named_parameters():
        parameter.data = ours[name].copy()
    if edit is not None:
        edit(other)
    return other


def stages(model, x):
    """Tokens after the embedding and each block, and the logits."""
    with no_grad():
        z = model.embed(x)
        found = [z.data]
        for block in model.blocks:
            z = block(z)
            found.append(z.data)
        return [*found, model(x).data]


def turn_out(model, blocks=(2,)):
    """Forget the transpose of attention's square matrix."""
    for i in blocks:
        weight = model.blocks[i].attention.out.weight
        weight.data = weight.data.T.copy()


# %%
def in_float64(model):
    for _, parameter in model.named_parameters():
        parameter.data = parameter.data.astype(np.float64)


few = x[: 20 if fast else 100]
precise = stages(altered(in_float64), few.astype(np.float64))
suspects = {
    "float32's rounding": (altered(), style.GREY),
    "epsilon 1e-12": (altered(norm_eps=1e-12), style.GREEN),
    "the other GELU": (altered(gelu="exact"), style.BLUE),
    "a transpose in block 3": (altered(turn_out), style.VERMILION),
}
distance = {
    name: [
        np.linalg.norm(a - b) / np.linalg.norm(b)
        for a, b in zip(stages(suspect, few), precise)
    ]
    for name, (suspect, _) in suspects.items()
}
for name, values in distance.items():
    print(f"{name:23}", *(f"{value:.0e}" for value in values))

# %%
rounding, epsilon, other_gelu, turned = map(
    np.array, distance.values()
)
assert rounding.max() < 1e-5
if not fast:
    assert rounding[-1] < epsilon[-1] < 1e-3
    assert 10 * rounding[-1] < other_gelu[-1] < 1e-2
    assert turned[2] < 1e-5 and turned[3] > 0.01

# %% tags=["drawing"]
places = ["embed-\nding", *(f"block\n{i}" for i in range(1, 5)),
          "logits"]
figure, axis = style.new_figure(5.8, 3.3)
lifts = (0, -3, 5, 0)  # of the names, so that none covers another
for (name, (_, colour)), lift in zip(suspects.items(), lifts):
    axis.semilogy(range(6), distance[name], color=colour, marker="o")
    axis.annotate(
        name, (5, distance[name][-1]), (8, lift), color=colour,
        textcoords="offset points", va="center",
    )
axis.set_xlim(-0.3, 8.4)
axis.set_xticks(range(6), places)
axis.set_xlabel("compared after")
axis.set_ylabel("relative difference")
axis.set_title("Where the lines part is where the mistake is");

# %% [markdown]
# This picture is the best tool of the trade. A layer that computes
# something a little different parts from the grey line of rounding at
# once, by a little: the epsilon at the first layer norm, the GELU at the
# first MLP. A mistake in the weights stands out as a jump, in the block
# that has it. "Logits agree to three digits" looks fine, and isn't: float32
# agrees to six.
#
# ## What goes wrong: mistakes that fit
#
# Now mistakes in the table or the settings, which all leave shapes right.
# Before you run this, guess for each how many images in a hundred are
# still right. Would you have noticed, if you didn't know how good the model
# was?

# %%
def reorder(model, parts):
    """Queries, keys and values in another order."""
    for block in model.blocks:
        layer = block.attention.qkv
        for parameter in (layer.weight, layer.bias):
            cut = np.split(parameter.data, 3, axis=-1)
            parameter.data = np.concatenate(
                [cut[i] for i in parts], axis=-1
            )


def turn_patches(model):
    """Rows and columns of each patch swapped."""
    weight = model.patch_embedding.projection.weight
    kernel = weight.data.reshape(P, P, D).swapaxes(0, 1)
    weight.data = kernel.reshape(P * P, D).copy()


def shift_positions(model):
    """Class token last instead of first."""
    embedding = model.position.embedding
    embedding.data = np.roll(embedding.data, -1, axis=1)


# %%
mistakes = {
    "none": altered(),
    "the other GELU": altered(gelu="exact"),
    "4 heads instead of 2": altered(heads=4),
    "out not turned, last block":
        altered(lambda model: turn_out(model, [3])),
    "1 head instead of 2": altered(heads=1),
    "positions shifted by one": altered(shift_positions),
    "patches' rows, columns swapped": altered(turn_patches),
    "keys and queries swapped":
        altered(lambda model: reorder(model, (1, 0, 2))),
    "out not turned, all blocks":
        altered(lambda model: turn_out(model, range(4))),
}
still = {
    name: accuracy(logits_of(other, x))
    for name, other in mistakes.items()
}
for name, share in still.items():
    print(f"{name:34} {share:6.1%}")

# %%
if not fast:
    assert still["the other GELU"] > right - 0.005
    for name in ("4 heads instead of 2", "out not turned, last block"):
        assert right - 0.12 < still[name] < right + 0.005
    assert still["out not turned, all blocks"] < 0.25

# %% tags=["drawing"]
figure, axis = style.new_figure(5.8, 3.3)
colours = [style.GREY] + [style.BLUE] * (len(still) - 1)
bars = axis.barh(list(still), [100 * s for s in still.values()],
                 color=colours)
axis.bar_label(bars, fmt=" %.1f %%")
axis.axvline(10, color=style.VERMILION, linestyle="--")
axis.set_xlim(0, 110)
axis.set_xticks(range(0, 101, 20))
axis.invert_yaxis()
axis.grid(axis="y", visible=False)
axis.set_xlabel("accuracy, % (dashed: guessing)")
axis.set_title("Every one of these loads without an error");

# %% [markdown]
# The mistakes at the bottom are loud. The dangerous ones are at the top: a
# model with the wrong number of heads, or with one matrix turned in its
# last block, loses a few points or none, and one would blame the
# preprocessing. Accuracy is a blunt instrument. So this is how you know
# that weights arrived:
#
# 1. every array of the file was used, and every parameter was filled;
# 2. every shape fits;
# 3. on the same input the logits agree with the others' program to
#    rounding (for float32 about six digits).
#
# The third is the proof; the first two are cheap, so `load_pretrained` does
# them each time:

# %%
refusals = []
for change in ({"head.scale": W}, {"norm.weight": None},
               {"norm.bias": np.zeros(D + 1)}):
    arrays = {**timm, **change}
    arrays = {k: v for k, v in arrays.items() if v is not None}
    write_safetensors("timm/model.safetensors", arrays)
    try:
        load_pretrained("timm")
    except InputError as error:
        refusals.append(str(error))
        print("-", refusals[-1])
write_safetensors("timm/model.safetensors", timm)
assert len(refusals) == 3

# %% [markdown]
# ## The other half: preprocessing
#
# Weights are trained for pixels of one kind: scaled somehow, cut somehow.
# That is part of the model as much as its arrays, and it stands in no
# array. Ours took pixels $p$ from 0 to 255 as $p / 127.5 - 1$. Guess what
# each of these costs:

# %%
pixels = images.astype(np.float32)
ways = {
    "-1 to 1, as trained": x,
    "ImageNet's mean and std": (pixels / 255 - 0.45) / 0.225,
    "0 to 1": pixels / 255,
    "0 to 255": pixels,
    "black and white exchanged": -x,
}
shares = {
    name: accuracy(logits_of(model, way)) for name, way in ways.items()
}
for name, share in shares.items():
    print(f"{name:26} {share:6.1%}")
if not fast:
    assert shares["0 to 1"] < 0.35 and shares["0 to 255"] < 0.35
    assert 0.5 < shares["ImageNet's mean and std"] < right - 0.05

# %% [markdown]
# Nothing is refused: a number is a number. And "0 to 1", the scale that
# looks so natural, is among the worst, since the background, byte 0, has
# always been -1 to the model, and is now 0, which used to be half dark.
# (Other models, such as DeiT, subtract the mean of ImageNet's pixels and
# divide by their standard deviation (chapter 2), roughly 0.45 and 0.225 of
# the full range. Ours is of the same form: $p / 127.5 - 1$ is $(p / 255 -
# 0.5) / 0.5$. The next cell prints these two numbers as `mean` and `std`.)
#
# Therefore a tinyvit model carries its preprocessing in its config: how to
# resize, to crop and to scale. `load_pretrained` fills it with what the
# file's source does, and a model refuses bytes that were not scaled.

# %%
print(arrived["google.npz"].config.preprocessing)
ready = arrived["google.npz"].config.preprocessing.prepare(images)
np.testing.assert_array_equal(ready, x)
try:
    model(images)
except TypeError as error:
    print(error)

# %% [markdown]
# ## Another size of image
#
# The paper trains at 224 pixels and *fine-tunes*, which means to go on
# training a trained model, mostly at 384 (section 3.2, Tables 3 and 4).
# With the same patches that is a longer sentence, and every array fits but
# one: the position embeddings, one vector for each place of a $7 \times 7$
# grid in our case. For another grid they are *interpolated*, like an image
# with $D$ channels.
#
# In one direction first. Old positions stand at $j = 0, 1, \dots, n-1$. Let
# $m$ new ones, $i = 0 \dots m - 1$, be spread evenly over the same length,
# so that the first and the last stay where they are:
#
# $$
# s_i = i\, \frac{n-1}{m-1} .
# $$
#
# *Linear* interpolation takes from each old position $j$ the share
# $\max(0,\, 1 - |s_i - j|)$. That makes a matrix $M$ of shape $(m, n)$.
# For a grid $G$, $(n, n)$, it is used twice, for rows and for columns:
# $G' = M G M^\top$, of shape $(m, m)$, in each of the $D$ channels. The
# class token has no place in the grid; its vector is kept apart.

# %%
from tinyvit.models.published.resize import resize_positions


def linear_matrix(n, m):
    """(m, n): the share that each new position has of each old."""
    places = np.arange(m) * (n - 1) / (m - 1)
    apart = np.abs(places[:, None] - np.arange(n))
    return np.maximum(1 - apart, 0)


def resize(embedding, n, m):
    """(1, 1 + n * n, D) -> (1, 1 + m * m, D)."""
    front, rest = embedding[:, :1], embedding[0, 1:]
    M = linear_matrix(n, m)
    # For each i, j, d the sum over a and b: rows by M, columns by M.
    grid = np.einsum("ia,jb,abd->ijd", M, M, rest.reshape(n, n, -1))
    return np.concatenate([front, grid.reshape(1, m * m, -1)], axis=1)


positions = ours["position.embedding"]
np.testing.assert_allclose(
    resize(positions, 7, 10),
    resize_positions(positions, 7, 10, "bilinear_corners"), atol=1e-5,
)

# %% [markdown]
# That is what Google's code does. timm and Hugging Face put the new
# positions a little differently, and instead of a line between two old
# ones draw a cubic curve, which the next one on either side helps to bend
# (*bicubic*). So the very same weights, in two files, answer differently
# at another size.
#
# ### An experiment: how much does it cost?
#
# We resize the test images to other sizes, and load the model for each.
# Only the positions are resized; nothing is trained. Larger images show at
# least as much as smaller ones. So what do you expect at 20, 24, 32 and 40
# pixels? As a control: how much is lost when an image is resized and
# brought back to 28 pixels?

# %%
from PIL import Image


def scaled(images, size):
    """Grey images (B, H, W, 1), resized."""
    method = Image.Resampling.BICUBIC
    return np.stack([
        np.asarray(Image.fromarray(one[:, :, 0]).resize(
            (size, size), method
        )) for one in images
    ])[..., None]


sizes = [24, 28, 32] if fast else [20, 24, 28, 32, 36, 40]
curves = {"google.npz": [], "timm": [], "resized and back": []}
for size in sizes:
    other = scaled(images, size)
    for source in ("google.npz", "timm"):
        resized = load_pretrained(source, image_size=size)
        found = accuracy(logits_of(resized, normalise(other)))
        curves[source].append(found)
    back = normalise(scaled(other, 28))
    curves["resized and back"].append(accuracy(logits_of(model, back)))
print("pixels          ", *(f"{size:6}" for size in sizes))
for name, values in curves.items():
    print(f"{name:16}", *(f"{value:6.1%}" for value in values))
if not fast:
    google_curve, timm_curve, control = map(np.array, curves.values())
    assert np.allclose(google_curve[2], timm_curve[2])
    assert (google_curve < right - 0.05)[[0, 1, 3, 4, 5]].all()
    assert 0 < np.abs(google_curve - timm_curve).max() < 0.05
    assert control[3:].min() > right - 0.03

# %% [markdown]
# Even a *larger* image, in which next to nothing is lost, costs many
# points. The positions can't be the whole reason: a patch of 4 pixels now
# shows a smaller piece of the shirt than any patch that $E$ was trained on.
# So the resized positions are a start for fine-tuning, no more. Between the
# two files the difference is much smaller.
#
# ## Is it safe to open a file?
#
# There is a fourth kind of file, with names like `weights.pth` or
# `pytorch_model.bin`: a *pickle*, Python's way to write any object. To
# restore it, a pickle may call any function that it names. So it may do
# anything that you may do. Here is a harmless one:

# %%
import pickle


class Weights:
    """Looks like an object, is a call."""

    def __reduce__(self):
        return print, ("this could have been any command",)


Path("weights.pth").write_bytes(pickle.dumps(Weights()))
pickle.loads(Path("weights.pth").read_bytes())

# %% [markdown]
# We only *read* it, and it ran. tinyvit doesn't read pickles. It says what
# it found, and after that gives a command that makes a safetensors file of
# it, in a mode of PyTorch that calls only what puts arrays together:

# %%
try:
    load_pretrained("weights.pth")
except InputError as error:
    refused = str(error)
print(refused.split(": ")[0], "...")
assert "can run any code" in refused and "python -c" in refused

# %% [markdown]
# A `.npz` file can hide a pickle as well, as an array of Python objects.
# NumPy refuses it unless it is told `allow_pickle=True`, which tinyvit never
# does. A safetensors file can only hold numbers. What is left to check is
# that the header tells the truth: places inside the file, no overlaps,
# sizes that fit the shapes. That is
# `tinyvit/models/published/safetensors_file.py`, and you can read it now.
#
# ## Attention rollout, taken apart
#
# Weights in hand, we want to see what a model looks at. Each block has
# attention weights for each head: row $i$ of the matrix says how much of
# each token goes to token $i$, and sums to 1 (chapter 4). But after the
# first block a token is already a mixture. So whom does the class token
# see, at the *end*, through all blocks?
#
# Follow the shares. With $N$ tokens, one of them the class token, let
# $A^{(l)}$, of shape $(N, N)$, be the mean over the heads of block $l$.
# Leave out all weight matrices, the norms and the MLPs: a strong
# simplification, which the method makes. Then the block makes of the tokens
# $z_{l-1}$, $(N, D)$,
#
# $$
# z_l = z_{l-1} + A^{(l)} z_{l-1} = (I + A^{(l)})\, z_{l-1} .
# $$
#
# The identity matrix $I$ is the residual connection: each token keeps itself.
# Rows of $I + A^{(l)}$ sum to 2; divided by that, they are shares again:
#
# $$
# \begin{aligned}
# \hat A^{(l)} &= \tfrac12 \left(I + A^{(l)}\right) \\
# R &= \hat A^{(L)} \cdots \hat A^{(2)} \hat A^{(1)} .
# \end{aligned}
# $$
#
# The later block stands on the left, since it mixes what the earlier ones
# have mixed. Rows of a product of such matrices sum to 1 as well: to
# multiply with $\mathbf 1$, a column of ones, is to sum the rows, and each
# $\hat A^{(l)}$ in its turn gives $\mathbf 1$ back.
# The class token's row of $R$, without its own share, is the map.

# %%
def my_rollout(maps):
    """(L, B, h, N, N) -> (B, grid, grid), sums of 1."""
    _, batch, _, tokens, _ = maps.shape
    R = np.eye(tokens)
    for A in maps.mean(axis=2):  # over heads; one block at a time
        R = (np.eye(tokens) + A) / 2 @ R
    assert np.allclose(R.sum(axis=-1), 1, atol=1e-4)
    shares = R[:, 0, 1:]
    shares = shares / shares.sum(axis=1, keepdims=True)
    grid = round((tokens - 1) ** 0.5)
    return shares.reshape(batch, grid, grid)


# %%
from tinyvit.analysis import rollout

sample = x[: 100 if fast else 500]
maps = np.concatenate(
    [model.attention_maps(sample[i : i + 100])
     for i in range(0, len(sample), 100)], axis=1
)
print(maps.shape)
looks = my_rollout(maps)
np.testing.assert_allclose(
    looks, rollout(maps, class_token=True), atol=1e-6
)

# %% [markdown]
# And how does a map come about? Here are rollouts through the first block
# only, the first two, and so on. All are drawn on the same scale: 1 is the
# share that each patch would get if all got the same, and what is above 4
# looks like 4.

# %% tags=["drawing"]
figure, axes = style.new_figure(5.8, 3.6, 3, 5)
for row, index in zip(axes, (1, 10, 17)):
    row[0].imshow(images[index, :, :, 0], cmap="gray_r")
    for depth in range(1, 5):
        share = my_rollout(maps[:depth, index : index + 1])[0] * 49
        shown = row[depth].imshow(share, cmap="cividis", vmin=0, vmax=4)
for axis in axes.flat:
    axis.axis("off")
for axis, title in zip(
    axes[0], ("image", "1 block", "2 blocks", "3 blocks", "4 blocks")
):
    axis.set_title(title, fontsize=10)
figure.suptitle("With each block the map gets flatter", fontsize=11)
figure.colorbar(shown, ax=axes, shrink=0.8, extend="max",
                label="times the equal share");

# %% [markdown]
# After one block the map is sharp: a few patches. Each further block blends
# in what those patches have seen themselves, and the map gets flatter.

# %%
sharpest = [
    my_rollout(maps[:depth]).max(axis=(1, 2)).mean() * 49
    for depth in range(1, 5)
]
print("largest share after each block:",
      *(f"{share:.1f}" for share in sharpest))
if not fast:
    assert sharpest[0] > sharpest[-1] + 1

# %% [markdown]
# ### Does it tell the truth?
#
# A beautiful map proves as little as a round trip, and this one has left
# out most of the model. So test it: cover the ten patches (of 49) that
# rollout says matter most, and see how many answers stay right. "Cover"
# means: replace by the mean of all training images. For comparison cover
# ten others:
#
# - the ten that rollout says matter least;
# - ten picked by chance;
# - the ten where the image is furthest from that mean, because a covered
#   background is no loss;
# - the ten that rollout names for a model of *random weights*.
#
# If the map were only decoration, to cover the ten that it says matter most
# would cost no more than to cover any of these. Guess the order.

# %%
average = normalise(train.images).mean(axis=0)


def covered(score, how_many=10):
    """The sample, its patches of highest score replaced."""
    chosen = np.argsort(-score, axis=1)[:, :how_many]
    mask = np.zeros(score.shape, bool)
    np.put_along_axis(mask, chosen, True, axis=1)
    mask = mask.reshape(-1, 7, 7).repeat(P, axis=1).repeat(P, axis=2)
    return np.where(mask[..., None], average, sample)


def looks_of(model):
    """Rollout for the sample: (images, 49)."""
    parts = [my_rollout(model.attention_maps(sample[i : i + 100]))
             for i in range(0, len(sample), 100)]
    return np.concatenate(parts).reshape(-1, 49)


cells = ((sample - average) ** 2).reshape(-1, 7, P, 7, P)
flat, random_looks = looks_of(model), looks_of(ViT(config, seed=1))
scores = {
    "most looked at": flat,
    "furthest from the mean": cells.sum(axis=(2, 4)).reshape(-1, 49),
    "by chance": np.random.default_rng(0).random(flat.shape),
    "most, random weights": random_looks,
    "least looked at": -flat,
}
rest = {}
for name, score in scores.items():
    predicted = logits_of(model, covered(score)).argmax(axis=1)
    rest[name] = np.mean(predicted == labels[: len(sample)])
    print(f"covered {name:22} {rest[name]:.1%} right")
whole = np.mean(original[: len(sample)].argmax(1)
                == labels[: len(sample)])
print(f"nothing covered                {whole:.1%} right")
if not fast:
    most, furthest, by_chance, random_most, least = rest.values()
    assert most < furthest - 0.05 and furthest < by_chance - 0.05
    assert least > by_chance + 0.1
    assert abs(random_most - by_chance) < 0.1

# %% [markdown]
# It passes, and the map of random weights, which has learned nothing, is no
# better than chance. Not that rollout is the truth: it knows nothing of
# *which* answer a patch speaks for, and the paper uses it to illustrate
# (Figure 6, appendix D.8). But a patch that it calls bright does matter.
#
# ### A photograph, and a warning
#
# With official weights we would now see what in chapter 3's portrait of
# Grace Hopper lights up. We have none here, so let us do what one should
# do with every such method: draw it for a model that knows *nothing*. Two
# models of size *tiny* with random weights, from different seeds.

# %%
from matplotlib.cbook import get_sample_data

file = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))
size = 64 if fast else 224
photographs = []
for seed in (0, 1):
    big = ViT(
        ViTConfig.named("tiny", image_size=size, patch_size=16),
        seed=seed,
    )
    prepare = big.config.preprocessing
    photo = prepare.read(file, size, channels=3)
    attention = big.attention_maps(prepare.prepare(photo[None]))
    share = my_rollout(attention)[0] * big.config.grid**2
    photographs.append(share)
    print(f"seed {seed}: shares from {share.min():.2f} to "
          f"{share.max():.2f} times the equal one")
trained, untrained = (
    49 * one.max(axis=1).mean() for one in (flat, random_looks)
)
print(f"largest on clothes: trained {trained:.2f}, "
      f"random weights {untrained:.2f}")
if not fast:
    assert max(p.max() for p in photographs) < 2.5
    assert untrained < 2.5 < trained

# %% tags=["drawing"]
figure, axes = style.new_figure(5.8, 5, 2, 2)
titles = ["the photograph", "seed 0, its own scale",
          "seed 0, from 0 to 4", "seed 1, its own scale"]
pictures = [photo, photographs[0], photographs[0], photographs[1]]
for axis, picture, title in zip(axes.flat, pictures, titles):
    axis.imshow(picture, cmap="cividis")
    axis.set_title(title, fontsize=10)
    axis.axis("off")
axes[1, 0].images[0].set_clim(0, 4)
figure.suptitle("Random weights look at something, too", fontsize=11);

# %%
a, b = [one.ravel() - one.mean() for one in photographs]
alike = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
print(f"correlation of the two: {alike:.2f}")
if not fast:
    assert 0.2 < alike < 0.9

# %% [markdown]
# The two on their own scales tempt one to see something. And they are not
# mere noise. Their *correlation*, chapter 3's cosine similarity after each
# map's mean has been taken away, is far from 0, though the random weights
# of the two were drawn apart. What they share is the photograph, not
# knowledge. The third picture, on the scale of the maps above, is the
# honest one: there is next to nothing. So give every map a scale, and compare with
# random weights before you believe it.
#
# ## The official files
#
# With a network, download a file from its authors, and everything above
# works on it. These commands are not run here:
#
# ```bash
# # Google's, of the paper: ImageNet-21k, fine-tuned at 384 pixels
# python -m tinyvit.predict ViT-B_16.npz photo.jpg
#
# # Hugging Face's google/vit-base-patch16-224: the folder
# python -m tinyvit.predict vit-base-patch16-224 photo.jpg
#
# # timm's vit_tiny_patch16_224.augreg_in21k_ft_in1k: the folder
# python -m tinyvit.predict vit_tiny photo.jpg
#
# # and back, for others to use
# python -m tinyvit.convert ViT-B_16.npz my_vit --to huggingface
# ```
#
# `predict` prints the five most probable classes and draws the rollout
# beside the photograph. In Python it is what you have used all along,
# `load_pretrained("ViT-B_16.npz")`, with `image_size=` for another size
# and `classes=` for a new head to fine-tune.
#
# ## Exercises
#
# ### Exercise 9.1: Google's heads
#
# The way back: from Google's three kernels, each of shape $(D, h, D_h)$,
# make our matrix of shape $(D, 3D)$.

# %% tags=["exercise"]
def joined(query, key, value):
    """3 of (D, h, D_h) -> (D, 3 * D)."""
    ...


# %% tags=["check"]
def check_joined(joined):
    """Says whether the function is right, and if not, why."""
    q, k, v = np.random.default_rng(2).normal(size=(3, 6, 2, 3))
    found = joined(q, k, v)
    if found is None:
        print("Not yet: the function returns nothing.")
        return False
    if np.shape(found) != (6, 18):
        print(f"Not yet: (6, 2, 3) each should make (6, 18), not "
              f"{np.shape(found)}.")
        return False
    right = np.hstack([part.reshape(6, 6) for part in (q, k, v)])
    if np.array_equal(found, right):
        print("Right!")
        return True
    mixed = np.concatenate([q, k, v], axis=2).reshape(6, 18)
    if np.array_equal(found, mixed):
        print("Not yet: your columns go head by head. First all "
              "queries, then all keys: join heads before you join "
              "the three.")
    elif np.array_equal(found[:, :6], right[:, :6]):
        print("Not yet: queries are right; keys come second, values "
              "third.")
    else:
        print("Not yet: column i * D_h + e of the queries is number "
              "e of head i; rows stay as they are.")
    return False


check_joined(joined);

# %% tags=["solution"]
def joined(query, key, value):
    """3 of (D, h, D_h) -> (D, 3 * D)."""
    flat = [part.reshape(len(part), -1) for part in (query, key, value)]
    return np.concatenate(flat, axis=1)


check_joined(joined);

# %% [markdown]
# ### Exercise 9.2: what is in this file?
#
# Write a function that lists the names and shapes in a safetensors file
# without reading a single weight. One name is no array: `__metadata__`,
# which a file may have or not, holds remarks.

# %% tags=["exercise"]
def shapes_in(path):
    """{name: shape as a tuple} of a safetensors file."""
    ...


# %% tags=["check"]
def check_shapes_in(shapes_in):
    """Says whether the function is right, and if not, why."""
    from safetensors.numpy import save_file

    arrays = {"a.weight": np.ones((2, 3), "f4"), "b": np.ones(5, "f4")}
    save_file(arrays, "x.safetensors", metadata={"by": "us"})
    try:
        found = shapes_in("x.safetensors")
    except (KeyError, TypeError):
        print("Not yet: one entry has no shape: __metadata__.")
        return False
    except (ValueError, MemoryError, OverflowError):
        print("Not yet: the first 8 bytes are a number, the smallest "
              "byte first ('little'); so many bytes of JSON follow.")
        return False
    if found is None:
        print("Not yet: the function returns nothing.")
        return False
    if not isinstance(found, dict):
        print("Not yet: return a dictionary, from name to shape.")
        return False
    if "__metadata__" in found:
        print("Not yet: __metadata__ is no array.")
        return False
    if any(isinstance(shape, list) for shape in found.values()):
        print("Not yet: JSON gives lists; make tuples of them.")
        return False
    if found != {"a.weight": (2, 3), "b": (5,)}:
        print(f"Not yet: found {found}.")
        return False
    print("Right!")
    return True


check_shapes_in(shapes_in);

# %% tags=["solution"]
def shapes_in(path):
    """{name: shape as a tuple} of a safetensors file."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {
        name: tuple(entry["shape"]) for name, entry in header.items()
    }


check_shapes_in(shapes_in);

# %% [markdown]
# ### Exercise 9.3: find the block
#
# Two models should be the same and are not. Write a function that says
# where they part: 0 if the tokens differ already after the embedding, $l$
# if first after block $l$ (from 1), and -1 if nowhere. Rounding is no
# difference: let relative differences below $10^{-4}$ pass. (`stages` from
# above gives the tokens. The logits come last; leave them out.)

# %% tags=["exercise"]
def where_they_part(one, other, x):
    """0 to L, or -1."""
    ...


# %% tags=["check"]
def check_where(where_they_part):
    """Says whether the function is right, and if not, why."""
    def rounded(model):
        for _, parameter in model.named_parameters():
            parameter.data = parameter.data * np.float32(1 + 1e-6)

    for edit, right, hint in [
        (turn_patches, 0, "later blocks inherit a difference; give "
         "the first place, and begin after the embedding with 0"),
        (lambda model: turn_out(model, [1]), 2, "this one has its "
         "mistake in block 2, and later blocks inherit it"),
        (lambda model: turn_out(model, [3]), 4, "the last block "
         "counts, too"),
        (rounded, -1, "numbers a millionth larger are not different"),
    ]:
        found = where_they_part(model, altered(edit), x[:20])
        if found is None and right == -1:
            print("Not yet: where nothing differs, return -1.")
            return False
        if found is None:
            print("Not yet: the function returns nothing.")
            return False
        if found != right:
            print(f"Not yet: {found} instead of {right}; {hint}.")
            return False
    print("Right!")
    return True


check_where(where_they_part);

# %% tags=["solution"]
def where_they_part(one, other, x):
    """0 to L, or -1."""
    pairs = zip(stages(one, x)[:-1], stages(other, x)[:-1])
    for number, (a, b) in enumerate(pairs):
        if np.linalg.norm(a - b) > 1e-4 * np.linalg.norm(a):
            return number
    return -1


check_where(where_they_part);

# %% [markdown]
# ## Further reading
#
# - Dosovitskiy et al. (2020),
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): section 3.2 (other
#   sizes), section 4.5 and Figure 6 (what the model looks at), appendix
#   D.8 (attention rollout).
# - Abnar and Zuidema, *Quantifying Attention Flow in Transformers* (2020),
#   [arXiv:2005.00928](https://arxiv.org/abs/2005.00928): where rollout
#   comes from.
# - Adebayo et al., *Sanity Checks for Saliency Maps* (2018),
#   [arXiv:1810.03292](https://arxiv.org/abs/1810.03292): why one should
#   draw such pictures for random weights first.
# - Touvron et al., *Fixing the train-test resolution discrepancy* (2019),
#   [arXiv:1906.06423](https://arxiv.org/abs/1906.06423): why another size
#   costs so much.
# - `tinyvit/models/published/`: a file for each source. Start with
#   `timm.py`, whose table you have written.
#
# This was the last chapter. You have built all of it: the derivatives, the
# layers, the model, its training, its kernels, and the door through which
# others' weights come in. To see it once more in ten minutes, go back to
# [chapter 0](00_an_image_is_worth_16x16_words.ipynb).
