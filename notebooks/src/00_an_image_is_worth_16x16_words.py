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
# has never seen, look at where it looks, and draw something for it
# yourself. It takes ten minutes to read and less than a minute to run.
# Nothing is explained in full here: every part gets a chapter of its own,
# and you will build each of them yourself.
#
# ## Where we are
#
# At the beginning. You need Python, a little NumPy and the calculus of
# school; no machine learning. If a name in this table says nothing to you,
# all is well: its chapter explains it.
#
# | chapter | what you build |
# |---|---|
# | **0** | **the whole story, once through** |
# | 1 | a machine that computes derivatives |
# | 2 | the layers that do the arithmetic, by hand |
# | 3 | from an image to a sequence of patches |
# | 4 | attention: how the patches look at each other |
# | 5 | the whole model |
# | 6 | learning, and how it fails |
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
# patches were mostly 16 pixels wide and high; the network is the *Vision
# Transformer*, ViT for short.
#
# We need images to cut. Some come with the package, a part of a data set
# called Fashion-MNIST:

# %%
import os
import textwrap

import numpy as np

from tinyvit.analysis import style
from tinyvit.data import load_dataset

fast = "TINYVIT_FAST" in os.environ  # set by the tests: do less
train, test = load_dataset("fashion-mini")
print("to learn from:", train.images.shape, train.images.dtype)
print("to be asked:  ", test.images.shape)
print(textwrap.fill(", ".join(test.class_names), 60))

# %% [markdown]
# That is 10,000 photographs of clothes, of ten kinds. Each has 28 x 28
# pixels, and each pixel is one whole number from 0 to 255: white to black.
# Another 2,000, `test`, the model will not see while it learns. Here is
# one of them, and what the network gets to read.

# %%
SIZE = 7  # pixels along one side of a patch
image = test.images[10, :, :, 0]
patches = image.reshape(4, SIZE, 4, SIZE).swapaxes(1, 2)
patches = patches.reshape(16, SIZE, SIZE)

# %% tags=["drawing"]
framed = np.pad(patches, ((0, 0), (1, 1), (1, 1)), constant_values=90)
lines = framed.reshape(2, 8, 9, 9).swapaxes(1, 2).reshape(18, 72)

figure, axes = style.new_figure(7, 2.2, 1, 2, width_ratios=[1, 3.4])
axes[0].imshow(image, cmap="gray_r")
axes[0].set_title("an image ...")
for cut in (6.5, 13.5, 20.5):
    axes[0].axhline(cut, color=style.ORANGE)
    axes[0].axvline(cut, color=style.ORANGE)
axes[1].imshow(lines, cmap="gray_r", vmin=0, vmax=255)
axes[1].set_title("... is a sentence of sixteen words")
for axis in axes:
    axis.axis("off")

# %% [markdown]
# Sixteen patches, read row by row like the words of a page. Could you tell
# a boot from this list? The network has it harder: to it each patch is 49
# numbers, and nobody tells it which patch lies next to which. That it has
# to learn (chapter 3).

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
# In words:
#
# 1. Turn each of the $N$ patches $x_1 \dots x_N$ into a vector, put one
#    more vector in front, and add to each a vector that stands for its
#    place. The list of all of them is $z_0$.
# 2. Let the vectors look at each other.
# 3. Let each think by itself. Steps 2 and 3 are a *block*; there are $L$
#    of them, and out of the last comes $z_L$.
# 4. Read the answer off the vector in front, which has looked at all the
#    others.
#
# ## The code
#
# Here is such a model, a very small one that tinyvit calls `nano`. Its
# vectors have 64 numbers each, so $z_0, \dots, z_L$ are arrays of shape
# (17, 64).

# %%
from tinyvit.models import ViT, ViTConfig

config = ViTConfig.named(
    "nano", image_size=28, patch_size=SIZE, channels=1, classes=10
)
model = ViT(config, seed=0, embedding_std=2.0)
print(f"{model.num_parameters:,} numbers to learn")
print(f"{config.tokens} vectors of {config.width} numbers each")
print(f"{config.depth} blocks")
assert (config.tokens, config.width) == (16 + 1, 64)
assert model.num_parameters == 139_018

# %% [markdown]
# All that the model will ever know is in those 139,018 numbers, its
# *parameters* (one also says *weights*). Nobody has set them yet: some are
# random, the rest are 0 or 1. What does it say now?

# %%
from tinyvit.training import Workers, evaluate

with Workers(2) as workers:
    before = evaluate(model, test, workers)
print(f"right without any training: {before.accuracy:.1%}")
print("answers given:", {test.class_names[i] for i in before.predicted})
assert before.accuracy == 0.1 and (before.predicted == 0).all()

# %% [markdown]
# It calls everything a T-shirt, and in one case of ten that is right. The
# parameters that make the answer, out of the vector in front, are all 0.
# So all ten kinds are equally likely to it, and it names the first.
#
# *Training* is this loop: show the model a few images (a *batch*), measure
# how wrong its answers are (the *loss*), work out in which direction each
# number should change to be less wrong (its *gradient* says), and change
# all of them a little. Chapters 1 and 2 build the part that finds the gradients,
# chapter 6 the part that changes the numbers. Until then, take the
# settings in the next cell as a recipe from a cook whom you trust.

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
rates = [  # how far to change the numbers, at each step
    learning_rate_at(
        step, peak=recipe.learning_rate, steps=steps,
        warmup_steps=loader.steps // 2, schedule="cosine",
    )
    for step in range(steps)
]

# %% [markdown]
# And now the loop. This is the cell that takes its time.

# %%
losses = []
with Workers(2) as workers:  # two threads
    one_step = TrainStep(model, recipe, workers)
    for epoch in range(epochs):
        for images, labels in loader.batches(epoch):
            step = len(losses)
            result = one_step(images, labels, step, rates[step])
            losses.append(result.loss)
    after = evaluate(model, test, workers)
print(f"{steps:,} steps, loss {losses[0]:.2f} -> {losses[-1]:.2f}")
print(f"right on images never seen: {after.accuracy:.1%}")
assert after.accuracy > (0.6 if fast else 0.8)

# %% [markdown]
# More than four answers in five are right, on images that the model has
# never seen. Here is how it got there:

# %% tags=["drawing"]
window = 50
smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
middle = np.arange(len(smooth)) + window / 2

figure, axis = style.new_figure(6.5, 3)
axis.plot(losses, color="#BBBBBB", linewidth=0.8)
axis.plot(middle, smooth, color=style.BLUE, linewidth=2)
axis.axhline(np.log(10), color=style.VERMILION, linestyle="--")
right = {"ha": "right", "transform": axis.get_yaxis_transform()}
axis.text(1, 2.37, "all ten kinds equally likely", **right,
          color=style.VERMILION)
axis.text(1, 1.15, "each step", **right, color=style.GREY)
axis.text(1, 0.9, f"mean over {window} steps", **right,
          color=style.BLUE)
axis.set_xlabel("step")
axis.set_ylabel("loss")
axis.set_ylim(0, 2.6)
axis.set_title("The model gets less and less wrong");

# %% [markdown]
# The model gives each kind a probability. If it gives $p$ to the right
# one, the loss of that image is $-\ln p$: zero if it was sure and right,
# and the more, the less it believed in the truth. (Chapter 2 shows why a
# logarithm.) The dashed line is the loss of a model that calls all ten
# equally likely, $-\ln \frac{1}{10} = \ln 10 \approx 2.30$. Ours started
# exactly there.

# %%
assert abs(losses[0] - np.log(10)) < 1e-4

# %% [markdown]
# ## What does it see?
#
# Because every patch looks at every other one, we can follow the looks
# through all blocks and ask: *which patches did this answer come from?*
# (The method is called attention rollout. It is an estimate, and chapter 9
# tests how far to trust it.)

# %%
from tinyvit import no_grad
from tinyvit.analysis import rollout
from tinyvit.autograd import softmax
from tinyvit.data import normalise

right = np.flatnonzero(after.predicted == after.labels)
wrong = np.flatnonzero(after.predicted != after.labels)
chosen = [*right[:3], *wrong[:2]]
with no_grad():  # no gradients are wanted here
    ready = normalise(test.images[chosen])
    probabilities = softmax(model(ready)).data
    looks = rollout(model.attention_maps(ready), class_token=True)

# %% tags=["drawing"]
figure, axes = style.new_figure(7, 4, 2, 5)
for column, index in enumerate(chosen):
    top, bottom = axes[:, column]
    image = test.images[index, :, :, 0]
    best = probabilities[column].argmax()
    truth = test.class_names[test.labels[index]]
    top.imshow(image, cmap="gray_r")
    top.set_title(
        f"{test.class_names[best]}\n{probabilities[column, best]:.0%}",
        color=style.BLUE if column < 3 else style.VERMILION,
    )
    if column >= 3:
        bottom.set_title(f"it is:\n{truth}")
    bottom.imshow(
        looks[column], cmap="cividis", extent=(-0.5, 27.5, 27.5, -0.5)
    )
    bottom.contour(image, levels=[50], colors="white", linewidths=1)
for axis in axes.flat:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.grid(False)
axes[0, 0].set_ylabel("image")
axes[1, 0].set_ylabel("where it looks");

# %% [markdown]
# Three answers that are right, and two that are wrong, each with its
# probability. Below each image, the brighter a patch, the more of the
# answer came from it; the white line is the outline of the thing.
#
# ## An experiment: does it matter where a patch stands?
#
# If the network only counted patches, as one might count the words of a
# page, shuffling them would change nothing. So let us shuffle the sixteen
# patches of every test image, all in the same way.

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


puzzle = dataclasses.replace(test, images=shuffled(test.images))

# %% tags=["drawing"]
figure, axes = style.new_figure(6.5, 1.6, 1, 5)
for axis, image in zip(axes, puzzle.images[chosen]):
    axis.imshow(image[:, :, 0], cmap="gray_r")
    axis.axis("off")
figure.suptitle("The same five, shuffled: would you know them?");

# %% [markdown]
# Make a guess before you read on: how many answers stay right?

# %%
with Workers(2) as workers:
    mixed = evaluate(model, puzzle, workers)
print(f"in order {after.accuracy:.1%}, shuffled {mixed.accuracy:.1%}")
assert mixed.accuracy < after.accuracy - 0.2

# %% [markdown]
# It does matter: the model knows where its patches should be. And all that
# it knows of place it has learned, for the vectors that stand for places,
# $E_\text{pos}$ in equation 1, were random numbers at the start.
#
# ## What goes wrong
#
# To be told nothing about images has a price. The paper reports (in
# sections 1 and 4.1) that with the 1.3 million photographs of *ImageNet*, a
# data set of a thousand kinds of things, its models fell a few per cent
# behind older networks, which have the notion of neighbouring pixels built
# in, and that they caught up with 14 to 300 million. We have ten thousand.
# Which kinds does our model confuse?

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
# Chapter 7 looks at more of its mistakes, and measures how accuracy grows
# with the number of images.
#
# ## Exercises
#
# Exercises look like this: a function to complete, and below it a check
# that tells you whether it is right, and if not, what to think about. A
# solution follows; in the book it is folded away.
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
    try:
        found = to_patches(image, 2)
    except ValueError as error:
        print(f"Not yet: this image has 6 rows, 4 columns: {error}.")
        return False
    if found is None:
        print("Not yet: the function returns nothing.")
        return False
    if np.shape(found) == (3, 2, 2, 2) or np.shape(found) == (6, 2, 2):
        print("Nearly: now lay the pixels of each patch in one row.")
        return False
    if np.shape(found) != (6, 4):
        print(f"Not yet: 6 patches of 4 pixels, not {np.shape(found)}.")
        return False
    first, second = np.array(found)[:2].tolist()
    if first == [0, 1, 2, 3]:
        print(
            "Not yet: the first patch is the first row of the image. "
            "Split both axes in two before you join anything."
        )
        return False
    if first != [0, 1, 4, 5]:
        print(
            "Not yet: the first patch holds rows 0 and 1 of columns 0 "
            f"and 1, so 0, 1, 4, 5; yours holds {first}."
        )
        return False
    if second != [2, 3, 6, 7]:
        print("Not yet: the second patch stands right of the first.")
        return False
    three = image[:3, :3]
    try:
        general = np.array_equal(to_patches(three, 3)[0], three.ravel())
    except ValueError:
        general = False
    if not general:
        print("Not yet: it works for patches of 2, but not of 3.")
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
# ### Exercise 0.2: draw for the machine
#
# Draw a pair of trousers that the model takes for trousers. Your drawing
# is a list of 14 lines of 14 characters: `#` is black, anything else is
# white, and each character becomes 2 x 2 pixels. Once the check says that
# you are right, play: can you draw a bag? How little ink makes a shirt?
# What does the model see in an empty page?

# %% tags=["exercise"]
def draw():
    """14 strings of 14 characters, # for black."""
    ...


# %% tags=["check"]
def check_draw(draw):
    """Says what the model sees in the drawing."""
    lines = draw()
    if lines is None:
        print("Not yet: the function returns nothing.")
        return False
    if isinstance(lines, str):
        lines = lines.split()
    if len(lines) != 14 or {len(line) for line in lines} != {14}:
        print("Not yet: 14 lines of 14 characters, please: "
              f"{len(lines)} of {sorted({len(x) for x in lines})}.")
        return False
    black = np.array([[c == "#" for c in line] for line in lines])
    picture = np.kron(black, np.ones((2, 2))) * 255
    with no_grad():
        ready = normalise(picture.astype(np.uint8)[None, :, :, None])
        seen = softmax(model(ready)).data[0]
    name = test.class_names[seen.argmax()]
    print(f"The model says: {name}, {seen.max():.0%}.")
    if name == "Trouser":
        print("Right!")
        return True
    print("Not yet: look at the trousers above. How wide are they, how "
          "tall, and where is there no cloth?")
    return False


check_draw(draw);

# %% tags=["solution"]
def draw():
    """14 strings of 14 characters, # for black."""
    waist, legs = "....######....", "....##..##...."
    return [waist] * 3 + [legs] * 11


check_draw(draw);

# %% [markdown]
# ## Further reading
#
# Chapters end with the parts of the paper that you can read now.
#
# - Dosovitskiy et al., *An Image is Worth 16x16 Words: Transformers for
#   Image Recognition at Scale* (2020),
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): read the abstract
#   and section 1 now, and look at Figure 1.
# - Vaswani et al., *Attention Is All You Need* (2017),
#   [arXiv:1706.03762](https://arxiv.org/abs/1706.03762): the Transformer.
# - Xiao, Rasul and Vollgraf, *Fashion-MNIST* (2017),
#   [arXiv:1708.07747](https://arxiv.org/abs/1708.07747): the images.
#
# Next: [a machine for derivatives](01_a_machine_for_derivatives.ipynb).
