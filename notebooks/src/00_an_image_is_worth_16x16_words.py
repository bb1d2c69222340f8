# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # An image is worth 16x16 words
#
# **The question:** how can a machine that was made to read sentences learn
# to see?
#
# In this chapter you train a Vision Transformer, show it pictures that it
# has never seen, and look at where it looks. It takes ten minutes to read
# and half a minute to run. Nothing is explained in full here: every part
# gets a chapter of its own, and you will build each of them yourself.
#
# ## Where we are
#
# You need Python, NumPy and the calculus of school; no machine learning.
# The whole way is this:
#
# | chapter | what you build |
# |---|---|
# | **0** | **the whole story, once through** |
# | 1 | a machine that computes derivatives |
# | 2 | the layers: linear, GELU, layer norm, the loss |
# | 3 | from an image to a sequence of patches |
# | 4 | attention |
# | 5 | the encoder, and the whole model |
# | 6 | learning: the optimiser and its schedule |
# | 7 | training for real |
# | 8 | making it fast, on the CPU and the GPU |
# | 9 | weights that others have trained |

# %% [markdown]
# ## The idea
#
# In 2017 a network called the *Transformer* changed how machines read. It
# takes a sentence as a list of words, each turned into a list of numbers (a
# *vector*), and lets every word look at every other one. Nothing in it
# knows what a word is: it works on any list of vectors.
#
# So in 2020 Alexey Dosovitskiy and his colleagues cut images into squares,
# called *patches*, and handed them to a Transformer as if they were words.
# Their paper is called *An Image is Worth 16x16 Words*, because their
# patches were 16 pixels wide and high; the network is the *Vision
# Transformer*, ViT for short.
#
# Here is one of the images that we use in this book, and what the network
# gets to read.

# %%
import os

import numpy as np

from tinyvit.analysis import style
from tinyvit.data import load_dataset

fast = "TINYVIT_FAST" in os.environ  # set by the tests: do less
train, test = load_dataset("fashion-mini")
print(train.images.shape, train.images.dtype)
print(train.class_names)

# %% [markdown]
# These are 10,000 photographs of clothes, 28 x 28 pixels each with a single
# channel (they are grey), and ten kinds of them. They come with the
# package: a part of a data set called Fashion-MNIST. There are 2,000 more,
# `test`, that the model will not see while it learns.

# %%
SIZE = 7  # pixels along one side of a patch
image = test.images[10, :, :, 0]
patches = image.reshape(4, SIZE, 4, SIZE).swapaxes(1, 2)
patches = patches.reshape(16, SIZE, SIZE)

figure, axes = style.new_figure(
    7.5, 1.9, 1, 17, width_ratios=[5, *[1.4] * 16]
)
axes[0].imshow(image, cmap="gray_r")
axes[0].set_title("an image")
for number, (axis, patch) in enumerate(zip(axes[1:], patches)):
    axis.imshow(patch, cmap="gray_r", vmin=0, vmax=255)
    axis.set_title(str(number + 1), loc="center", fontsize=8)
for axis in axes:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)

# %% [markdown]
# Sixteen patches, read row by row like the words of a page. To the network
# the order is not even given: it gets sixteen vectors of 49 numbers, and
# has to learn what belongs where (chapter 3).

# %% [markdown]
# ## The mathematics, in one breath
#
# The paper has four equations. You are not expected to understand them
# now; in chapter 5 you will have written each of them in Python.
#
# $$
# \begin{aligned}
# z_0 &= [x_\text{class};\; x_1 E;\; \dots;\; x_N E] + E_\text{pos} \\
# z'_l &= \mathrm{MSA}(\mathrm{LN}(z_{l-1})) + z_{l-1} \\
# z_l &= \mathrm{MLP}(\mathrm{LN}(z'_l)) + z'_l \\
# y &= \mathrm{LN}(z_L^0)
# \end{aligned}
# $$
#
# In words: (1) turn each of the $N$ patches $x_1 \dots x_N$ into a vector,
# put one more vector in front of them, and add to each a vector that says
# where it stands. Then $L$ times over: (2) let the vectors look at each
# other, and (3) let each think by itself. (4) Read the answer off the
# vector in front.
#
# ## The code
#
# That is the model: here a tiny one, which tinyvit calls `nano`.

# %%
from tinyvit.models import ViT, ViTConfig

config = ViTConfig.named(
    "nano", image_size=28, patch_size=SIZE, channels=1, classes=10
)
model = ViT(config, seed=0, embedding_std=2.0)
print(f"{model.num_parameters:,} numbers to learn")
print(f"{config.tokens} vectors of {config.width} numbers each")
print(f"{config.depth} layers")
assert config.tokens == 16 + 1  # the patches, and one in front

# %% [markdown]
# At first those 139,018 numbers are random, and so are the answers. With
# ten kinds of clothes, one answer in ten is right by luck.

# %%
from tinyvit.training import Workers, evaluate

with Workers(2) as workers:
    before = evaluate(model, test, workers)
print(f"right without any training: {before.accuracy:.1%}")
assert 0.05 < before.accuracy < 0.2

# %% [markdown]
# *Training* is this loop: show the model a few images (a *batch*), measure
# how wrong its answers are (the *loss*), work out in which direction each
# number should change to be less wrong (its *gradient*), and change all of
# them a little. Chapters 1 and 2 build the part that finds the gradients,
# chapter 6 the part that changes the numbers.

# %%
from tinyvit.data import Loader
from tinyvit.training import Recipe, TrainStep, learning_rate_at

epochs = 1 if fast else 8  # how often each image is shown
recipe = Recipe(
    epochs=epochs, batch_size=64, learning_rate=3e-3, beta2=0.98,
    weight_decay=0.2, workers=2,
)
loader = Loader(train, recipe.batch_size, seed=0)
steps = epochs * loader.steps
losses = []
with Workers(2) as workers:
    one_step = TrainStep(model, recipe, workers)
    for epoch in range(epochs):
        for images, labels in loader.batches(epoch):
            rate = learning_rate_at(
                len(losses), peak=recipe.learning_rate, steps=steps,
                warmup_steps=loader.steps // 2, schedule="cosine",
            )
            result = one_step(images, labels, len(losses), rate)
            losses.append(result.loss)
    after = evaluate(model, test, workers)
print(f"{steps:,} steps, loss {losses[0]:.2f} -> {losses[-1]:.2f}")
print(f"right on images never seen: {after.accuracy:.1%}")
assert after.accuracy > (0.5 if fast else 0.8)

# %%
def smooth(values, over):
    return np.convolve(values, np.ones(over) / over, mode="valid")


figure, axis = style.new_figure(7, 2.8)
axis.plot(losses, color="#CCCCCC", linewidth=0.8, label="each step")
window = 50
axis.plot(
    np.arange(window // 2, window // 2 + len(losses) - window + 1),
    smooth(losses, window), color=style.BLUE, linewidth=2,
    label=f"mean over {window} steps",
)
axis.axhline(np.log(10), color=style.VERMILION, linestyle="--")
axis.text(
    len(losses), np.log(10) + 0.05, "guessing", ha="right",
    color=style.VERMILION,
)
axis.set_xlabel("step")
axis.set_ylabel("loss")
axis.set_ylim(0)
axis.set_title("Less wrong with every step")
axis.legend();

# %% [markdown]
# The dashed line is the loss of a model that calls all ten kinds equally
# likely. It is $\ln 10 \approx 2.30$, and the first step stands exactly
# there. Chapter 2 shows why.

# %%
assert abs(losses[0] - np.log(10)) < 0.01

# %% [markdown]
# ## What does it see?
#
# The model answers with a probability for each kind. And because every
# patch looks at every other one, we can follow the looks through all layers
# and ask: *which patches did this answer come from?* (The method is called
# attention rollout; chapter 9 takes it apart.)

# %%
from tinyvit import no_grad
from tinyvit.analysis import rollout
from tinyvit.autograd import softmax
from tinyvit.data import normalise

wrong = np.flatnonzero(after.predicted != after.labels)
right = np.flatnonzero(after.predicted == after.labels)
chosen = [*right[:4], *wrong[:2]]
ready = normalise(test.images[chosen])
with no_grad():
    probabilities = softmax(model(ready)).data
looks = rollout(model.attention_maps(ready), class_token=True)

figure, axes = style.new_figure(7.5, 3.6, 2, 6)
for column, index in enumerate(chosen):
    best = probabilities[column].argmax()
    top, bottom = axes[:, column]
    top.imshow(test.images[index, :, :, 0], cmap="gray_r")
    name = test.class_names[best]
    top.set_title(
        f"{name}\n{probabilities[column, best]:.0%}", fontsize=9,
        color=style.BLUE if column < 4 else style.VERMILION,
    )
    bottom.imshow(looks[column], cmap="cividis")
    if column >= 4:
        label = test.class_names[test.labels[index]]
        bottom.set_xlabel(f"in truth:\n{label}", fontsize=9)
    for axis in (top, bottom):
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
axes[0, 0].set_ylabel("image")
axes[1, 0].set_ylabel("where it looks");

# %% [markdown]
# Four answers that are right (blue), two that are wrong (red). Below each
# image, bright patches are those that the answer came from.
#
# ## An experiment: does it matter where a patch stands?
#
# A bag of words has no order. If the network only counted patches, as one
# counts words, shuffling them would change nothing. Make a guess before
# you run this: how many answers stay right if we shuffle the sixteen
# patches of every test image?

# %%
import dataclasses


def shuffled(images, seed=0):
    """Each image with its 16 patches in another order."""
    count = len(images)
    patches = images.reshape(count, 4, SIZE, 4, SIZE).swapaxes(2, 3)
    patches = patches.reshape(count, 16, SIZE, SIZE)
    order = np.random.default_rng(seed).permutation(16)
    mixed = patches[:, order].reshape(count, 4, 4, SIZE, SIZE)
    return mixed.swapaxes(2, 3).reshape(images.shape)


with Workers(2) as workers:
    puzzle = dataclasses.replace(test, images=shuffled(test.images))
    mixed = evaluate(model, puzzle, workers)
print(f"in order {after.accuracy:.1%}, shuffled {mixed.accuracy:.1%}")
assert mixed.accuracy < after.accuracy - 0.2

# %% [markdown]
# It does matter. All that the network knows of place it has learned: the
# vectors $E_\text{pos}$ in equation 1 were random numbers at the start.
#
# ## What goes wrong
#
# The model of this chapter is small, and so is its data. Real ViTs are
# trained on millions of images, and with fewer they fall behind older
# networks that have the notion of neighbouring pixels built in. Which kinds
# does ours confuse?

# %%
confusion = np.array(after.confusion)
np.fill_diagonal(confusion, 0)
for _ in range(3):
    truth, answer = np.unravel_index(
        confusion.argmax(), confusion.shape
    )
    print(
        f"{test.class_names[truth]} taken for "
        f"{test.class_names[answer]}: {confusion[truth, answer]} times"
    )
    confusion[truth, answer] = 0

# %% [markdown]
# Mistakes that a person might make at 28 x 28 pixels. Chapter 7 has more
# of them, and measures how accuracy grows with the number of images.
#
# ## Exercises
#
# Exercises look like this: a function to complete, and below it a check
# that tells you whether it is right, and if not, what to think about. A
# solution follows, folded away.
#
# ### Exercise 0.1: cut an image into patches
#
# Write a function that takes an image of shape (height, width) and a patch
# size $P$ that divides both, and returns the patches, flattened, row by
# row: an array of shape (number of patches, $P^2$). The code above did it
# for one special case.

# %% tags=["exercise"]
def to_patches(image, size):
    """(height, width) -> (patches, size * size), row by row."""
    ...


# %% tags=["check"]
def check_to_patches(to_patches):
    """Says whether the function is right, and if not, why."""
    image = np.arange(6 * 4).reshape(6, 4)
    found = to_patches(image, 2)
    if found is None:
        print("Not yet: the function returns nothing.")
        return False
    if np.shape(found) != (6, 4):
        print(f"Not yet: 6 patches of 4 pixels, not {np.shape(found)}.")
        return False
    if list(found[0]) != [0, 1, 4, 5]:
        print(
            "Not yet: the first patch holds rows 0 and 1 of columns "
            "0 and 1. A plain reshape mixes rows: split each axis in "
            "two, then bring the patch axes together with swapaxes."
        )
        return False
    if list(found[1]) != [2, 3, 6, 7]:
        print("Not yet: the second patch stands right of the first.")
        return False
    print("Right!")
    return True


check_to_patches(to_patches);

# %% tags=["solution"]
def to_patches(image, size):
    """(height, width) -> (patches, size * size), row by row."""
    height, width = image.shape
    split = image.reshape(height // size, size, width // size, size)
    return split.swapaxes(1, 2).reshape(-1, size * size)


check_to_patches(to_patches);

# %% [markdown]
# ## Further reading
#
# - Dosovitskiy et al., *An Image is Worth 16x16 Words: Transformers for
#   Image Recognition at Scale* (2020),
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): read the abstract
#   and section 1 now, and look at Figure 1.
# - Vaswani et al., *Attention Is All You Need* (2017),
#   [arXiv:1706.03762](https://arxiv.org/abs/1706.03762): the Transformer.
#
# Next: [a machine for derivatives](01_a_machine_for_derivatives.ipynb).
