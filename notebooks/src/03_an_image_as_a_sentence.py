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
# z_0 = [x_\text{class};\; x_1 E;\; \dots;\; x_N E] + E_\text{pos}
# $$
#
# What comes out, $z_0$, is a list of vectors, which the field calls
# *tokens*. In [chapter 4](04_attention.ipynb) they will start to look at
# each other.
#
# ## The idea
#
# Cut the image into squares, the *patches*. Lay the pixels of each patch
# in a row, and you have a list of numbers; multiply it with a matrix that
# is learned, and you have a vector of the width that the network works
# with. The patches are the words, and the image is a sentence of them, read
# row by row.

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

# %% tags=["drawing"]
cells = photo.reshape(14, 16, 14, 16, 3)  # how this cuts: below
gap = ((0, 0), (1, 1), (0, 0), (1, 1), (0, 0))
spaced = np.pad(cells, gap, constant_values=255)

figure, axes = style.new_figure(7, 3.6, 1, 2)
axes[0].imshow(photo)
axes[0].set_title("224 x 224 pixels ...")
axes[1].imshow(spaced.reshape(14 * 18, 14 * 18, 3))
axes[1].set_title("... are 196 words of 16 x 16")
for axis in axes:
    axis.axis("off")

# %% [markdown]
# (Grace Hopper, who wrote one of the first compilers. Her portrait comes
# with Matplotlib.)
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
# ViT that the paper calls *Base*, $D$ is 768 as well, and nothing need be
# lost. Here $D$ is 192, as in a smaller size called *tiny*: a quarter of
# the numbers. The matrix has to learn what to keep.
#
# What does the size of the patches cost? Half of $P$ means four times as
# many words. In the next chapter each word looks at every other one, and
# so the number of looks, $N^2$, grows sixteenfold.

# %%
for size in (32, 16, 8, 4):
    count = (224 // size) ** 2
    print(f"P = {size:2}: {count:5,} patches, {count**2:9,} looks")
assert (224 // 8) ** 4 == 16 * (224 // 16) ** 4

# %% [markdown]
# In the book's web page there is a figure to play with here: choose the
# size of the patches, and click on one to see all that the network is
# given of it. It also counts the work of the whole model tiny, in
# *multiply-adds* (a multiplication and the addition of its result; chapter
# 5 counts them). Looks grow sixteenfold from 16 to 8 pixels. Guess: does
# the work?
#
# <!-- interactive: patch-grid -->

# %%
from tinyvit.models import ViTConfig
from tinyvit.models.cost import cost

work = {
    size: cost(ViTConfig.named("tiny", patch_size=size)).multiply_adds
    for size in (16, 8)
}
print(f"{work[8] / work[16]:.1f} times the work")
assert 4 < work[8] / work[16] < 16

# %% [markdown]
# Less: most of the work is done on each word by itself, and grows with
# $N$; only the looks grow with $N^2$.
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
# without. As 200 minutes are 3 hours and 20 minutes, so row 37 of the
# image is row 5 of patch row 2, for $37 = 2 \cdot 16 + 5$. A reshape
# splits an axis into two such digits:
#
# $$
# (B,\, H,\, W,\, C) \to (B,\, \tfrac{H}{P},\, P,\, \tfrac{W}{P},\, P,\, C)
# $$
#
# Now bring both patch numbers to the front (a *transpose* puts axes in
# another order), and join: the two axes after $B$ count the $N$ patches, the
# last three the numbers in one.
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
# what the image shows, and at the end the answer is read off it. (One can
# also take the mean over all patches. The paper reports in its appendix D.3
# that this works about as well, with another learning rate; it kept the
# token to stay as close as it could to the original Transformer.)
#
# And to each of the now $N + 1$ vectors a *position embedding* is added: a
# learned vector for each place in the sentence, $E_\text{pos}$ of shape
# $(N + 1, D)$. Why, you will see below.
#
# All these numbers are learned. At first they are random (tinyvit's class
# token begins with zeros). How large the numbers of a matrix should be is a
# question for chapter 5.

# %%
random = np.random.default_rng(0)
E = random.normal(0, (P * P * C) ** -0.5, (P * P * C, D))
class_token = random.normal(0, 0.02, (1, 1, D))
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
# The pixels, 0 to 255, are scaled to numbers from -1 to 1 first, as in the
# paper's code.
#
# ## The same in tinyvit
#
# `ViT.embed` does the same. Give it our numbers, and it gives our $z_0$:

# %%
from tinyvit import no_grad
from tinyvit.models import ViT

vit = ViT(ViTConfig.named("tiny", image_size=224, patch_size=16))
vit.patch_embedding.projection.weight.data[...] = E
vit.class_token.data[...] = class_token
vit.position.embedding.data[...] = E_pos
with no_grad():
    theirs = vit.embed(scaled.astype(np.float32))
np.testing.assert_allclose(theirs.data, z_0, atol=1e-5)

# %%
import inspect

from tinyvit.nn import PatchEmbedding

print(inspect.getsource(PatchEmbedding.__call__))

# %% [markdown]
# The six axes are there, and a linear layer at the end, which has a bias
# besides $E$ (zero at first). In other code you will find a *convolution*
# with steps of $P$ instead: it slides a window over the image and
# multiplies what is in it with the same weights each time. With windows
# that don't overlap, that is the same as cutting and multiplying.
#
# ## Does order matter?
#
# Shuffle the words of "dog bites man", and you get different news. Does a
# Transformer notice? Look at what its parts do with the vectors.
#
# Layer norm and the *MLP* (two linear layers with a GELU between them)
# treat each vector by itself. Attention replaces each vector by a weighted
# sum over all of them. Take the class token, $x_0$, and leave the details
# to chapter 4: with the tokens $x_0, \dots, x_N$ (no longer the pixels of
# equation 1) and the result $y_0$ all of shape $(D{,})$,
#
# $$
# y_0 = \sum_{j=0}^{N} w(x_0, x_j)\, x_j ,
# $$
#
# and the weight $w$, a number, depends on the two *vectors*, not on $j$.
# (It is also divided by a sum over all vectors, so that the weights sum
# to 1.) Let two patches change places: each sum has the same terms in
# another order, so it is the same sum. For the patches it is no different:
# each takes its result along to its new place. So the next block (attention
# and MLP) again gets the same vectors in another order, and so on to the
# end. The class token gets the same answer.
#
# Let us see: two models, one with and one without position embeddings, and
# images whose patches are shuffled.

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
    """A nano for 28 x 28 grey images."""
    config = ViTConfig.named(
        "nano", image_size=28, patch_size=patch_size, channels=1,
        classes=10, position_embedding=position,
    )
    return ViT(config, seed=0, embedding_std=std)


images = random.uniform(-1, 1, (4, 28, 28, 1)).astype(np.float32)
changes = {}
for position in ("none", "learned"):
    model = nano(position)
    with no_grad():
        before = model.features(images).data[:, 0]
        mixed = shuffle_patches(images, 7)
        after = model.features(mixed).data[:, 0]
    changes[position] = np.abs(after - before).max()
    print(f"{position:8} changes by {changes[position]:.1e}")
assert changes["none"] < 1e-4 and changes["learned"] > 0.1

# %% [markdown]
# (`features` gives the tokens after the last block and a last layer norm,
# the class token first.)
# Without position embeddings it is the same but for rounding: the model
# sees a *bag* of patches. With them, each vector carries a mark of its
# place, and a patch in another place is another word.
#
# ### An experiment: how much is a bag of patches worth?
#
# How well can a model do that cannot know where anything is? There are ten
# kinds of clothes, and guessing gets 10 % of them. With positions, `nano`
# got more than 80 % in chapter 0. Make a guess, then train one without.

# %%
from tinyvit.data import Loader, load_dataset
from tinyvit.training import (
    Recipe, TrainStep, Workers, evaluate, learning_rate_at,
)

train, test = load_dataset("fashion-mini")
if fast:
    test = test.limited(500)


def train_for(model, epochs, data=train, tested=test):
    """As in chapter 0; gives the accuracy on images never seen."""
    recipe = Recipe(batch_size=64, beta2=0.98, weight_decay=0.2)
    loader = Loader(data, 64, seed=0)
    steps = 20 if fast else epochs * loader.steps
    done = 0
    with Workers(2) as workers:
        one_step = TrainStep(model, recipe, workers)
        for epoch in range(epochs):
            for batch, labels in loader.batches(epoch):
                rate = learning_rate_at(
                    done, peak=3e-3, steps=steps,
                    warmup_steps=steps // 20, schedule="cosine",
                )
                if done < steps:
                    one_step(batch, labels, done, rate)
                    done += 1
        return evaluate(model, tested, workers).accuracy


models = {"none": nano("none"), "learned": nano("learned")}
accuracy = {
    position: train_for(model, 1 if fast else 4)
    for position, model in models.items()
}
for position, reached in accuracy.items():
    print(f"positions {position:8} {reached:.1%}")
if not fast:
    assert 0.7 < accuracy["none"] < accuracy["learned"]

# %% [markdown]
# Surprisingly much! A sole, a sleeve or a strap tells what it belongs to,
# wherever it is. Positions are worth a few per cent more. The paper saw the
# same at full size (appendix D.4, Table 8, where models learn from five
# examples of each kind in ImageNet): 61 % without positions, and 64 % with
# any of three kinds.
#
# ### What does the model know of place?
#
# Now ask the two trained models about images whose patches were moved.
# Guess before you look: with all sixteen in another place, which of the
# two is better?

# %%
import dataclasses


def moved(images, count):
    """Images with `count` of their 16 patches in another place."""
    order = np.arange(16)
    some = np.random.default_rng(0).permutation(16)[:count]
    order[some] = np.roll(order[some], 1)  # each to the next's place
    return uncut(cut(images, 7)[:, order], 7)


counts = np.arange(0, 17, 4 if fast else 2)
puzzles = [
    dataclasses.replace(test, images=moved(test.images, count))
    for count in counts
]
with Workers(2) as workers:
    curves = {
        position: [
            evaluate(model, puzzle, workers).accuracy
            for puzzle in puzzles
        ]
        for position, model in models.items()
    }

# %% tags=["drawing"]
figure, axis = style.new_figure(6.5, 3.2)
for position, colour in (
    ("none", style.ORANGE), ("learned", style.BLUE)
):
    axis.plot(counts, 100 * np.array(curves[position]), color=colour,
              marker="os"[position == "none"], linewidth=2)
axis.text(16, 86, "no positions: a bag", color="#8A5F00", ha="right")
axis.text(9, 52, "learned positions", color=style.BLUE)
axis.axhline(10, color=style.VERMILION, linestyle="--")
axis.text(0, 12, "guessing", color=style.VERMILION)
axis.set_ylim(0, 100)
axis.set_xlabel("patches moved to another place, of 16")
axis.set_ylabel("right answers, %")
axis.set_title("Knowing where things belong can mislead");

# %%
for position, curve in curves.items():
    print(f"{position:8}", *(f"{share:.1%}" for share in curve))
assert np.ptp(curves["none"]) < 0.005
if not fast:
    assert curves["learned"][-1] < 0.5 < curves["none"][-1]

# %% [markdown]
# To the bag nothing has happened. The model with positions gets worse with
# nearly every patch that is moved. It has to: what helps it with whole images
# misleads it with these. Look at some of them, in order and with all
# patches moved, and at what the models without positions (none) and with
# learned ones say:

# %%
chosen = [10, 11, 12, 13, 14]
puzzle = moved(test.images[chosen], 16)
answers = []
for model in models.values():
    ready = model.config.preprocessing.prepare(puzzle)
    with no_grad():
        answers.append(model(ready).data.argmax(axis=1))

# %% tags=["drawing"]
figure, axes = style.new_figure(7, 3.6, 2, 5)
for column, index in enumerate(chosen):
    for axis, image in zip(
        axes[:, column], (test.images[index], puzzle[column])
    ):
        axis.imshow(image[:, :, 0], cmap="gray_r")
        axis.axis("off")
    axes[0, column].set_title(test.class_names[test.labels[index]])
    bag, placed = (test.class_names[a[column]] for a in answers)
    axes[1, column].set_title(f"none: {bag}\nlearned: {placed}",
                              fontsize=9)

# %% [markdown]
# ## What does a learned position look like?
#
# Nobody tells the model which patch lies below which. It has to find that
# out from what patches have to do with each other. To see whether it does,
# we take smaller patches, 7 x 7 of them, and let the position vectors start
# as nearly nothing: random numbers of size 0.02, as in the official code.
# (In the models above, as in chapter 0, they began with size 2, for a short
# training: `embedding_std=2.0`.)
#
# Then compare each position's vector with all others. The *cosine
# similarity* of two vectors is 1 if they point in the same direction, 0 if
# they are at right angles, and -1 if they point in opposite directions.
# What all positions have in common says nothing of place, so their mean is
# taken away first.

# %%
# std=0.0 asks for tinyvit's own choice, positions of size 0.02
start = nano("learned", patch_size=4, std=0.0)
trained = nano("learned", patch_size=4, std=0.0)
train_for(trained, 1 if fast else 5)


def similarity(model):
    """Cosine similarity of the patches' positions: (N, N)."""
    vectors = model.position.embedding.data[0, 1:]  # of the patches
    vectors = vectors - vectors.mean(axis=0)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / length) @ (vectors / length).T


# %% tags=["drawing"]
figure, axes = style.new_figure(7, 3.4, 2, 5)
places = [(1, 1), (1, 5), (3, 3), (5, 1), (5, 5)]
for row, model in enumerate((start, trained)):
    likeness = similarity(model).reshape(7, 7, 7, 7)
    for axis, place in zip(axes[row], places):
        shown = axis.imshow(
            likeness[place], cmap="cividis", vmin=-0.6, vmax=1
        )
        axis.plot(place[1], place[0], "o", mfc="none", mec="white")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
axes[0, 0].set_ylabel("before training")
axes[1, 0].set_ylabel("after")
figure.colorbar(shown, ax=axes, label="similarity")
figure.suptitle("A position's vector becomes like its neighbours'");

# %% [markdown]
# Each small map belongs to one position, the one with the ring, and shows
# how similar all 49 positions are to it. Before training they are noise.
# Afterwards most are brighter above or below the ring. (The paper's Figure
# 7, in the middle, shows the maps of ViT-L/32, which has 7 x 7 patches,
# too; there whole rows and columns are bright.) Do you see something else?
# In some a second place is bright: around the mirror image, as far from
# the middle on the other side. Most clothes (not shoes) are the same left
# and right, and the model has found that out. We can put numbers on this.

# %%
row, column = np.divmod(np.arange(49), 7)
across = column[:, None] - column[None]
down = row[:, None] - row[None]
apart = np.hypot(across, down)  # (49, 49), distances of patches
far = apart >= 4
mirrored = (down == 0) & (column[:, None] + column[None] == 6)


def likeness_of(model):
    """Mean similarity of neighbours, mirror images, others far."""
    likeness = similarity(model)
    groups = (apart == 1, far & mirrored, far & ~mirrored)
    return [likeness[group].mean() for group in groups]


for name, model in (("before", start), ("after", trained)):
    near, mirror, others = likeness_of(model)
    print(f"{name:6}: neighbours {near:+.2f}, mirror images "
          f"{mirror:+.2f}, other far ones {others:+.2f}")
assert max(np.abs(likeness_of(start))) < 0.1
if not fast:
    assert near > others + 0.15 and mirror > others + 0.05

# %% [markdown]
# Positions need not be learned. The Transformer of 2017 had *sinusoidal*
# ones: each of the $D$ numbers is a sine or a cosine wave, here along the
# rows or along the columns of the grid, and there are $D/4$ wavelengths.
# Short waves tell neighbours apart, long ones say where on the whole. These
# vectors stay as they are, and near ones are alike from the start:

# %%
near, _, others = likeness_of(nano("sinusoidal", patch_size=4))
print(f"neighbours {near:+.2f}, other far ones {others:+.2f}")
assert near > 0.5 > 0 > others

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

# %% tags=["drawing"]
figure, axes = style.new_figure(7, 4, 2, 4)
for row, function in enumerate((cut, wrong_cut)):
    for column, axis in enumerate(axes[row]):
        patch = function(photo[None], P)[0, 90 + column]
        axis.imshow(patch.reshape(P, P, C))
        axis.axis("off")
axes[0, 0].set_title("cut as it should be")
axes[1, 0].set_title("wrong: thin stripes, wrapped");

# %% [markdown]
# Each "patch" below is a stripe: 256 pixels, which is one row of the image
# and a bit of the next, wrapped to a square. Does a model trained on such
# patches fail? Guess. To find out we hand `nano` images that were cut the
# wrong way and put together again.

# %%
def striped(data):
    """The data set, its patches cut the wrong way."""
    return dataclasses.replace(
        data, images=uncut(wrong_cut(data.images, 7), 7)
    )


stripes = train_for(
    nano("learned"), 1 if fast else 4, striped(train), striped(test)
)
with Workers(2) as workers:
    foreign = evaluate(models["learned"], striped(test), workers)
print(f"trained on squares: {accuracy['learned']:.1%}")
print(f"trained on stripes: {stripes:.1%}")
print(f"trained on squares, shown stripes: {foreign.accuracy:.1%}")
if not fast:
    assert abs(stripes - accuracy["learned"]) < 0.05
    assert foreign.accuracy < 0.5

# %% [markdown]
# Trained on stripes it learns about as well as on squares, at least with
# images as small as these, where a stripe of 49 pixels is nearly two rows
# of the image. So nothing fails, and nobody notices, until the model meets
# weights or patches that were made elsewhere (the last line). The remedy is
# the line that we wrote right after `cut`: compare with something slow and
# plain.
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
        try:
            found = sentence_length(image_size, patch_size)
        except ValueError:
            print(f"Not yet: patches of {patch_size} do fit into "
                  f"{image_size}.")
            return False
        if found is None:
            print("Not yet: the function returns nothing.")
            return False
        if found == right - 1:
            print("Not yet: somebody stands in front of the patches.")
            return False
        if found != right:
            print(f"Not yet: {image_size} and {patch_size} make "
                  f"{right}, not {found}. How many patches are there "
                  "along one side, and how many rows of them?")
            return False
    for image_size, patch_size in [(224, 15), (7, 14)]:
        try:
            sentence_length(image_size, patch_size)
        except ValueError:
            continue
        print(f"Not yet: patches of {patch_size} don't fit into "
              f"{image_size}, and nobody is told.")
        return False
    print("Right!")
    return True


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
# Without a class token the answer is read off the mean over the patches.
# Does that depend on their order? Write a function that takes vectors of
# shape $(B, N, D)$ and gives the mean vector of each image, $(B, D)$; and
# one that puts the vectors of each image in another order, where `order`
# says which comes first, second and so on. The check compares the means.

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
    tokens = np.random.default_rng(3).normal(size=(5, 5, 3))
    given = tokens.copy()
    order = np.array([3, 1, 4, 2, 0])
    mean = mean_of_tokens(tokens)
    mixed = shuffled_tokens(tokens, order)
    if mean is None or mixed is None:
        print("Not yet: a function returns nothing.")
        return False
    if not np.array_equal(tokens, given):
        print("Not yet: leave the vectors that you were given alone.")
        return False
    if np.shape(mean) != (5, 3):
        print("Not yet: for 5 images with vectors of 3 the mean "
              f"is (5, 3), not {np.shape(mean)}.")
        return False
    if np.allclose(mean, tokens.mean(axis=0)):
        print("Not yet: that is a mean over the images, and different "
              "images have nothing to do with each other.")
        return False
    if not np.allclose(mean, tokens.sum(axis=1) / 5):
        print("Not yet: that is not the mean over the vectors.")
        return False
    if np.shape(mixed) != (5, 5, 3):
        print("Not yet: shuffling keeps the shape.")
        return False
    if np.array_equal(mixed, tokens[order]):
        print("Not yet: that shuffles the images of the batch.")
        return False
    if not np.array_equal(mixed, tokens[:, order]):
        print("Not yet: order is 3, 1, 4, 2, 0. So the first vector of "
              "each image should be the one that was number 3, the "
              "second the one that was number 1, and so on.")
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
