# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # An image as a sentence
#
# **The question:** a Transformer reads a sequence of vectors. How does an
# image become one, and what is lost on the way?
#
# ## Where we are
#
# You have a machine for derivatives ([chapter
# 1](01_a_machine_for_derivatives.ipynb)) and the layers that do the
# arithmetic ([chapter 2](02_layers_by_hand.ipynb)): a linear layer
# computes $xW + b$. With these, this chapter builds the front door of the
# Vision Transformer, equation 1 of the paper:
#
# $$
# z_0 = [x_\text{class};\; x_1 E;\; x_2 E;\; \dots;\; x_N E]
#       + E_\text{pos}
# $$
#
# What comes out, $z_0$, is a list of vectors. In [chapter
# 4](04_attention.ipynb) they will start to look at each other.
#
# ## The idea
#
# Cut the image into squares, the *patches*. Lay the pixels of each patch
# in a row, and you have a list of numbers; multiply it with a matrix that
# is learned, and you have a vector of the width that the network works
# with. That is all. The patches are the words, and the image is a sentence
# of them, read row by row.

# %%
import os

import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image

from tinyvit.analysis import style

fast = "TINYVIT_FAST" in os.environ
with get_sample_data("grace_hopper.jpg") as file:
    portrait = Image.open(file).convert("RGB")
photo = np.asarray(portrait.crop((56, 0, 456, 400)).resize((224, 224)))
print(photo.shape)

figure, axes = style.new_figure(
    7.5, 3.1, 1, 2, width_ratios=[1, 1.02]
)
axes[0].imshow(photo)
axes[0].set_title("224 x 224 pixels ...")
spaced = np.full((14 * 18 - 2, 14 * 18 - 2, 3), 255, np.uint8)
for row in range(14):
    for column in range(14):
        spaced[
            row * 18 : row * 18 + 16, column * 18 : column * 18 + 16
        ] = photo[
            row * 16 : row * 16 + 16, column * 16 : column * 16 + 16
        ]
axes[1].imshow(spaced)
axes[1].set_title("... are 196 words of 16 x 16")
for axis in axes:
    axis.axis("off")

# %% [markdown]
# (This is Rear Admiral Grace Hopper, who wrote one of the first
# compilers. Her portrait comes with Matplotlib.)
#
# ## The mathematics: shapes
#
# An image has height $H$, width $W$ and $C$ channels: 3 for red, green and
# blue, 1 for grey. It is an array of shape $(H, W, C)$. A patch is $P$
# pixels wide and high, so it has $P^2 C$ numbers, and there are
#
# $$
# N = \frac{H}{P} \cdot \frac{W}{P}
# $$
#
# of them. The matrix $E$, for *embedding*, takes the numbers of a patch to
# the network's width $D$: its shape is $(P^2 C, D)$. For the portrait with
# $P = 16$:

# %%
H, W, C = photo.shape
P, D = 16, 192
N = (H // P) * (W // P)
print(f"{N} patches of {P * P * C} numbers; E is {P * P * C} x {D}")
assert (N, P * P * C) == (196, 768)

# %% [markdown]
# So a patch of 16 x 16 pixels in colour has 768 numbers. In the size of
# ViT that the paper calls *Base*, $D$ is 768 as well, and nothing is lost;
# in smaller ones the matrix has to choose.
#
# What does the size of the patches cost? Half of $P$ means four times as
# many words. In the next chapter each word looks at every other one, and
# so the number of looks, $N^2$, grows by sixteen.

# %%
for size in (32, 16, 8, 4):
    count = (224 // size) ** 2
    print(f"P = {size:2}: {count:5,} patches, {count**2:11,} looks")
assert (224 // 8) ** 4 == 16 * (224 // 16) ** 4

# %% [markdown]
# <!-- interactive: patch-grid -->
#
# ## The code: cutting
#
# The plain way is two loops.

# %%
def cut_with_loops(images, size):
    """(B, H, W, C) -> (B, N, P * P * C), row by row."""
    batch, height, width, _ = images.shape
    patches = []
    for top in range(0, height, size):
        for left in range(0, width, size):
            patch = images[:, top : top + size, left : left + size]
            patches.append(patch.reshape(batch, -1))
    return np.stack(patches, axis=1)


# %% [markdown]
# $B$ is the number of images, the *batch*: everything in this book works
# on several at a time. Loops in Python are slow, and there is a way
# without. Think of the row number of a pixel as two digits, as in a clock:
# which patch, and which row within it. A reshape splits an axis into two
# such digits:
#
# $$
# (B,\, H,\, W,\, C) \to (B,\, \tfrac{H}{P},\, P,\, \tfrac{W}{P},\, P,\, C)
# $$
#
# Now bring both patch numbers to the front, and join the rest:
#
# $$
# (B,\, \tfrac{H}{P},\, \tfrac{W}{P},\, P,\, P,\, C) \to (B,\, N,\, P^2 C)
# $$

# %%
def cut(images, size):
    """(B, H, W, C) -> (B, N, P * P * C), row by row."""
    batch, height, width, channels = images.shape
    rows, columns = height // size, width // size
    split = images.reshape(batch, rows, size, columns, size, channels)
    together = split.transpose(0, 1, 3, 2, 4, 5)
    return together.reshape(batch, rows * columns, -1)


words = cut(photo[None], P)
print(words.shape)
np.testing.assert_array_equal(words, cut_with_loops(photo[None], P))

# %% [markdown]
# ## The code: the sentence
#
# To the 196 vectors comes one more, in front, that belongs to no patch:
# the *class token*. It is a vector of learned numbers, the same for every
# image. While the others look at each other, it looks at them and gathers
# what the image shows, and at the end the answer is read off it. (Taking
# the mean of all vectors works about as well. The paper tried both, in its
# appendix D.3, and kept the token because language models have one.)
#
# And to each of the now $N + 1$ vectors a *position embedding* is added: a
# learned vector for each place in the sentence, $E_\text{pos}$ of shape
# $(N + 1, D)$. Why, you will see below.

# %%
random = np.random.default_rng(0)
E = random.normal(0, (P * P * C) ** -0.5, (P * P * C, D))
class_token = np.zeros((1, 1, D))
E_pos = random.normal(0, 0.02, (1, N + 1, D))


def embed(images):
    """Equation 1: (B, H, W, C) -> z_0 of shape (B, N + 1, D)."""
    tokens = cut(images, P) @ E
    front = np.broadcast_to(class_token, (len(images), 1, D))
    return np.concatenate([front, tokens], axis=1) + E_pos


scaled = photo[None] / 127.5 - 1  # pixels from -1 to 1
z_0 = embed(scaled)
print(z_0.shape)
assert z_0.shape == (1, 197, 192)

# %% [markdown]
# Pixels are scaled from 0...255 to -1...1 first, as in the paper's code:
# layers learn best from numbers of about the size of 1, with mean 0.
#
# ## The same in tinyvit
#
# `ViT.embed` does just this. Give it our numbers, and it gives our $z_0$:

# %%
from tinyvit import no_grad
from tinyvit.models import ViT, ViTConfig

config = ViTConfig.named("tiny", image_size=224, patch_size=16)
vit = ViT(config, seed=0)
vit.patch_embedding.projection.weight.data[...] = E
vit.position.embedding.data[...] = E_pos
with no_grad():
    theirs = vit.embed(scaled.astype(np.float32))
np.testing.assert_allclose(theirs.data, z_0, atol=1e-5)

# %%
import inspect

from tinyvit.nn import PatchEmbedding

print(inspect.getsource(PatchEmbedding.__call__))

# %% [markdown]
# The six axes are there, and a linear layer at the end. In other code you
# will find a *convolution* with steps of $P$ instead: it slides a window
# over the image and multiplies what is in it with the same weights. With
# windows that don't overlap, that is the same as cutting and multiplying.
#
# ## Does order matter?
#
# Shuffle the words of "dog bites man", and you get different news. Does a
# Transformer notice? Look at what each part does with its vectors. Layer
# norm and the MLP treat each one by itself. In attention, each is replaced
# by a weighted *sum* over all of them, and a sum does not depend on order.
# So if two words change places, the results change places too, and nothing
# else happens. The class token gets exactly the same answer.
#
# Exactly? Let us see: two models, one with and one without position
# embeddings, and an image whose patches are shuffled.

# %%
def uncut(patches, size, channels=1):
    """The inverse of `cut`, for square images."""
    batch, count, _ = patches.shape
    grid = round(count**0.5)
    split = patches.reshape(batch, grid, grid, size, size, channels)
    together = split.transpose(0, 1, 3, 2, 4, 5)
    return together.reshape(batch, grid * size, grid * size, channels)


def shuffle_patches(images, size, seed=0):
    """Each image with its patches in another order."""
    patches = cut(images, size)
    order = np.random.default_rng(seed).permutation(patches.shape[1])
    return uncut(patches[:, order], size, images.shape[3])


np.testing.assert_array_equal(uncut(words, P, C), photo[None])


# %%
def nano(position, patch_size=7, std=2.0):
    """A nano for 28 x 28 grey images, its head not zero."""
    config = ViTConfig.named(
        "nano", image_size=28, patch_size=patch_size, channels=1,
        classes=10, position_embedding=position,
    )
    model = ViT(config, seed=0, embedding_std=std)
    model.head.weight.data[...] = np.random.default_rng(1).normal(
        size=model.head.weight.shape
    )
    return model


images = random.uniform(-1, 1, (4, 28, 28, 1)).astype(np.float32)
changes = {}
for position in ("none", "learned"):
    model = nano(position)
    with no_grad():
        before = model(images).data
        after = model(shuffle_patches(images, 7)).data
    changes[position] = np.abs(after - before).max()
    print(f"{position:8} changes by {changes[position]:.1e}")
assert changes["none"] < 1e-4 and changes["learned"] > 0.1

# %% [markdown]
# Without position embeddings the answers are the same but for rounding: the
# model sees a *bag* of patches. With them, each vector carries a mark of
# its place, and a patch in another place is another word.
#
# ### An experiment: how much is a bag of patches worth?
#
# How well can a model do that cannot know where anything is? Ten kinds of
# clothes; guessing gives 10 %, and with positions `nano` reaches some 84 %
# in a few passes. Make a guess, then run it. The third model gets
# *sinusoidal* positions: sine and cosine waves of different lengths along
# both axes, fixed and not learned, as in the first Transformer.

# %%
from tinyvit.data import load_dataset
from tinyvit.training import (
    Recipe, TrainStep, Workers, evaluate, learning_rate_at,
)
from tinyvit.data import Loader

train, test = load_dataset("fashion-mini")


def train_for(model, epochs, data=train, tested=test, peak=3e-3):
    """Train a model and give its accuracy on images never seen."""
    recipe = Recipe(batch_size=64, beta2=0.98, weight_decay=0.2)
    loader = Loader(data, 64, seed=0)
    steps = 20 if fast else epochs * loader.steps
    done = 0
    with Workers(2) as workers:
        one_step = TrainStep(model, recipe, workers)
        for epoch in range(epochs):
            for batch, labels in loader.batches(epoch):
                rate = learning_rate_at(
                    done, peak=peak, steps=steps,
                    warmup_steps=steps // 20, schedule="cosine",
                )
                if done < steps:
                    one_step(batch, labels, done, rate)
                    done += 1
        return evaluate(model, tested, workers).accuracy


models = {
    position: nano(position)
    for position in ("none", "learned", "sinusoidal")
}
accuracy = {
    position: train_for(model, 1 if fast else 5)
    for position, model in models.items()
}
for position, reached in accuracy.items():
    print(f"{position:10} {reached:.1%}")

# %%
if not fast:
    assert accuracy["none"] > 0.6
    assert accuracy["learned"] > accuracy["none"] + 0.02
    assert accuracy["sinusoidal"] > accuracy["none"] + 0.02

figure, axis = style.new_figure(6, 2.2)
names = ["none\n(a bag)", "learned", "sinusoidal"]
colours = [style.GREY, style.BLUE, style.ORANGE]
bars = axis.barh(names, [100 * a for a in accuracy.values()],
                 color=colours)
axis.bar_label(bars, fmt=" %.1f %%")
axis.axvline(10, color=style.VERMILION, linestyle="--")
axis.text(11, -0.55, "guessing", color=style.VERMILION, fontsize=9)
axis.set_xlim(0, 100)
axis.set_ylim(2.6, -0.8)
axis.set_xlabel("accuracy on images never seen, %")
axis.grid(axis="y", visible=False)
axis.set_title("Knowing where is worth something, but less than what");

# %% [markdown]
# Surprisingly much! A sole, a sleeve or a strap tells what it belongs to
# wherever it is. The paper saw the same at full size (its appendix D.4,
# Table 8): 61 % without positions, 64 % with any of several kinds of
# them, learned or not, in one dimension or two.
#
# ## What does a learned position look like?
#
# Nobody tells the model that patch 5 lies below patch 1. It has to find
# out, from what patches have to do with each other. Here we start with
# tiny random positions, as the paper does, and smaller patches: 7 x 7 of
# them. After training, compare each position's vector with all others: the
# *cosine similarity* of two vectors is 1 if they point in the same
# direction, 0 if they are at right angles.

# %%
start = nano("learned", patch_size=4, std=0.0)
trained = nano("learned", patch_size=4, std=0.0)
train_for(trained, 1 if fast else 8)


def similarity(model):
    """Cosine similarity of the patches' positions: (N, N)."""
    vectors = model.position.embedding.data[0, 1:]
    vectors = vectors - vectors.mean(axis=0)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / length) @ (vectors / length).T


figure, axes = style.new_figure(7.5, 3.9, 1, 2)
for axis, model, title in zip(
    axes, (start, trained), ("before training: noise", "after: a map")
):
    likeness = similarity(model).reshape(7, 7, 7, 7)
    tiles = np.full((7 * 8 - 1, 7 * 8 - 1), np.nan)
    for row in range(7):
        for column in range(7):
            tiles[
                row * 8 : row * 8 + 7, column * 8 : column * 8 + 7
            ] = likeness[row, column]
    shown = axis.imshow(tiles, cmap="cividis", vmin=-0.5, vmax=1)
    axis.set_title(title)
    axis.set_xticks(np.arange(7) * 8 + 3, range(1, 8))
    axis.set_yticks(np.arange(7) * 8 + 3, range(1, 8))
    axis.set_xlabel("column of the patch")
    axis.set_ylabel("row of the patch")
    axis.grid(False)
figure.colorbar(shown, ax=axes, shrink=0.8,
                label="similarity to each other position");

# %% [markdown]
# Each of the 49 small maps belongs to one position, and shows how similar
# all positions are to it. After training each map is brightest around its
# own place: near patches have similar vectors, and rows and columns show.
# (The paper's Figure 7, in the middle, is this picture for 14 x 14.) We can
# put a number on it: how similar are neighbours, and how similar are
# patches that lie far apart?

# %%
def near_and_far(model):
    """Mean similarity at a distance of 1, and of 4 and more."""
    place = np.stack(np.divmod(np.arange(49), 7), axis=1)
    apart = np.linalg.norm(place[:, None] - place[None], axis=2)
    likeness = similarity(model)
    return likeness[apart == 1].mean(), likeness[apart >= 4].mean()


for name, model in (("before", start), ("after", trained)):
    near, far = near_and_far(model)
    print(f"{name:6} neighbours {near:+.2f}, far apart {far:+.2f}")
near, far = near_and_far(trained)
assert abs(near_and_far(start)[0]) < 0.1
if not fast:
    assert near > 0.2 > far

# %% [markdown]
# ## What goes wrong
#
# The axes of an image are easily mixed up, and nothing complains. Here is
# a cut that looks shorter, and gives arrays of the right shape:

# %%
def wrong_cut(images, size):
    """Right shape, wrong pixels."""
    batch, height, width, channels = images.shape
    count = (height // size) * (width // size)
    return images.reshape(batch, count, size * size * channels)


figure, axes = style.new_figure(7.5, 1.7, 1, 8)
for column in range(4):
    pairs = ((axes[column], cut), (axes[column + 4], wrong_cut))
    for axis, function in pairs:
        patch = function(photo[None], P)[0, 90 + column]
        axis.imshow(patch.reshape(P, P, C))
        axis.axis("off")
axes[0].set_title("cut as it should be")
axes[4].set_title("wrong: thin stripes");

# %% [markdown]
# Each "patch" on the right is a stripe of one or two rows, wrapped around
# within the square. Does a model trained on such patches fail? To find out
# we hand `nano` images that were cut the wrong way and put together again.

# %%
import dataclasses


def striped(data):
    """The data set, its patches cut the wrong way."""
    return dataclasses.replace(
        data, images=uncut(wrong_cut(data.images, 7), 7)
    )


stripes = train_for(
    nano("learned"), 1 if fast else 5, striped(train), striped(test)
)
with Workers(2) as workers:
    foreign = evaluate(models["learned"], striped(test), workers)
print(f"trained on squares: {accuracy['learned']:.1%}")
print(f"trained on stripes: {stripes:.1%}")
print(f"trained on squares, shown stripes: {foreign.accuracy:.1%}")
if not fast:
    assert abs(stripes - accuracy["learned"]) < 0.03
    assert foreign.accuracy < 0.5

# %% [markdown]
# Trained on stripes it learns as well as on squares, at least on images as
# small as these: a matrix that is learned does not care in which order its
# numbers come, as long as it is always the same. So nothing fails, and
# nobody notices, until the model meets weights or patches that were made
# elsewhere (the last line). The remedy is the line that we wrote right
# after `cut`: compare with something slow and plain.
#
# ## Exercises
#
# ### Exercise 3.1: how long is the sentence?
#
# Write a function that gives the number of vectors, $N + 1$ with the class
# token, for a square image. If the patches don't fit, raise a `ValueError`
# that says so.

# %% tags=["exercise"]
def sentence_length(image_size, patch_size):
    """N + 1 for a square image."""
    ...


# %% tags=["check"]
def check_sentence_length(sentence_length):
    """Says whether the function is right, and if not, why."""
    for image_size, patch_size, right in [
        (224, 16, 197), (28, 7, 17), (384, 32, 145), (14, 14, 2)
    ]:
        found = sentence_length(image_size, patch_size)
        if found is None:
            print("Not yet: the function returns nothing.")
            return False
        if found == right - 1:
            print("Not yet: the class token is missing.")
            return False
        if found != right:
            print(f"Not yet: {image_size} and {patch_size} make "
                  f"{right}, not {found}. Patches along one side, "
                  "squared, plus one.")
            return False
    try:
        sentence_length(224, 15)
    except ValueError:
        print("Right!")
        return True
    print("Not yet: patches of 15 pixels don't fit into 224.")
    return False


check_sentence_length(sentence_length);

# %% tags=["solution"]
def sentence_length(image_size, patch_size):
    """N + 1 for a square image."""
    if image_size % patch_size:
        raise ValueError(
            f"patches of {patch_size} don't fit {image_size} pixels"
        )
    return (image_size // patch_size) ** 2 + 1


check_sentence_length(sentence_length);

# %% [markdown]
# ### Exercise 3.2: the mean instead of a token
#
# Without a class token the answer is read off the mean of all vectors.
# Show by an array that this, too, does not depend on the order: write a
# function that takes vectors of shape $(B, N, D)$ and gives their mean
# $(B, D)$, and one that shuffles them along the right axis.

# %% tags=["exercise"]
def mean_of_tokens(tokens):
    """(B, N, D) -> (B, D)."""
    ...


def shuffled_tokens(tokens, order):
    """(B, N, D) -> the same vectors in another order."""
    ...


# %% tags=["check"]
def check_tokens(mean_of_tokens, shuffled_tokens):
    """Says whether the functions are right, and if not, why."""
    tokens = np.random.default_rng(3).normal(size=(2, 5, 3))
    mean = mean_of_tokens(tokens)
    order = np.array([3, 1, 4, 0, 2])
    mixed = shuffled_tokens(tokens, order)
    if mean is None or mixed is None:
        print("Not yet: a function returns nothing.")
        return False
    if np.shape(mean) != (2, 3):
        print(f"Not yet: a mean per image is (2, 3), not "
              f"{np.shape(mean)}. Average over axis 1.")
        return False
    if np.shape(mixed) != (2, 5, 3):
        print("Not yet: shuffling keeps the shape.")
        return False
    if not np.array_equal(mixed[:, 0], tokens[:, 3]):
        print("Not yet: the first vector of each image should be its "
              "former fourth. Index axis 1, and leave axis 0 alone.")
        return False
    if not np.allclose(mean, tokens.sum(axis=1) / 5):
        print("Not yet: that is not the mean over the vectors.")
        return False
    if not np.allclose(mean_of_tokens(mixed), mean):
        print("Not yet: the means differ.")
        return False
    print("Right!")
    return True


check_tokens(mean_of_tokens, shuffled_tokens);

# %% tags=["solution"]
def mean_of_tokens(tokens):
    """(B, N, D) -> (B, D)."""
    return tokens.mean(axis=1)


def shuffled_tokens(tokens, order):
    """(B, N, D) -> the same vectors in another order."""
    return tokens[:, order]


check_tokens(mean_of_tokens, shuffled_tokens);

# %% [markdown]
# ## Further reading
#
# - Dosovitskiy et al. (2020),
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): section 3.1 and
#   equation 1; Figure 7 (what $E$ and $E_\text{pos}$ learn); appendix D.3
#   (class token or mean) and D.4 (kinds of position embedding).
# - Vaswani et al. (2017),
#   [arXiv:1706.03762](https://arxiv.org/abs/1706.03762), section 3.5: the
#   sinusoidal positions.
# - `tinyvit/nn/patch_embedding.py` and `tinyvit/models/position.py`.
#
# Next: [attention](04_attention.ipynb).
