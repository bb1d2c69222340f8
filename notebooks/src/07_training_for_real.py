# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Training for real
#
# **The question:** what lies between a model that *can* learn and a model
# that *has* learned?
#
# ## Where we are
#
# You have the whole Vision Transformer ([chapter
# 5](05_the_encoder_and_the_whole_vit.ipynb)), and an optimiser with a
# schedule that makes it learn ([chapter 6](06_learning.ipynb)). There, one
# batch of images was enough to see whether learning works. Now it gets
# serious: thousands of images, some of which the model must never see
# while it learns; a run that may take hours, and may be stopped; and at
# the end the question of what the model gets wrong, and why.
#
# ## The idea
#
# Training is two loops, one inside the other. The inner one takes batch
# after batch and makes a step with each. When every image has been shown
# once, which is called an *epoch*, the outer loop measures how good the
# model is on images that it has never seen, saves everything, and starts
# the next one.

# %%
import os

import numpy as np

from tinyvit.analysis import style

fast = "TINYVIT_FAST" in os.environ

# %% tags=["drawing"]
parts = ["shuffle", "batch", "augment", "step", "evaluate", "save"]
places = [0, 1.4, 2.85, 4.15, 5.5, 6.85]
halves = [0.42, 0.37, 0.54, 0.27, 0.52, 0.31]  # of the boxes' widths


def arrow(axis, start, end, colour, y, bend=0.0):
    """An arrow from one place to another, straight or bent."""
    axis.annotate(
        "", (end, y), (start, y),
        arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.5,
                    "connectionstyle": f"arc3,rad={bend}"},
    )


figure, axis = style.new_figure(5.6, 2.4)
for part, x in zip(parts, places):
    inner = part in ("batch", "augment", "step")
    axis.text(
        x, 0, part, ha="center", va="center",
        bbox={"boxstyle": "round,pad=0.3", "fc": "white",
              "ec": style.BLUE if inner else style.VERMILION},
    )
for i in range(5):
    start, end = places[i] + halves[i], places[i + 1] - halves[i + 1]
    arrow(axis, start, end, style.GREY, 0)
arrow(axis, 4.15, 1.4, style.BLUE, -0.3, -0.35)
axis.text(2.75, -1.25, "once for each batch", ha="center",
          color=style.BLUE)
arrow(axis, 6.85, 0, style.VERMILION, 0.35, 0.18)
axis.text(3.4, 1.35, "once for each epoch", ha="center",
          color=style.VERMILION)
axis.set_xlim(-0.6, 7.3)
axis.set_ylim(-1.5, 1.7)
axis.axis("off")
axis.set_title("Training is two loops, one inside the other");

# %% [markdown]
# ## The mathematics: two averages
#
# Let $\theta$ be all parameters of the model in one row, and
# $\mathcal L(\theta, x, t)$ the loss of one image $x$ with target $t$, a
# single number. Training makes an average over the $n$ training images
# small:
#
# $$
# \frac{1}{n} \sum_{i=1}^{n} \mathcal L(\theta, x_i, t_i) .
# $$
#
# But that is not what we want. We want to be right on images to come, that
# is, to have a small
#
# $$
# \mathbb{E}\big[\mathcal L(\theta, x, t)\big] ,
# $$
#
# where $\mathbb{E}$ is the mean over all images that there could be. For a
# fixed $\theta$, chosen without looking at the images, the first average
# estimates the second. After training it does not any more: $\theta$ was
# *chosen* so that it suits those very $n$ images. The distance between the
# two is called the *generalisation gap*. To measure it, hold some images
# back, which no step is ever made with. They are the *test set*.
#
# How well does a test set of $m$ images measure? Let $p$ be the true
# accuracy. Each answer counts 1 with probability $p$ and 0 otherwise, so
# its mean is $p$. It misses this mean by $1 - p$ with probability $p$, and
# by $p$ with probability $1 - p$. The mean of the square of this error is
#
# $$
# \begin{aligned}
# &p\,(1-p)^2 + (1-p)\,p^2 \\
# &\quad = p(1-p)\,\big((1-p) + p\big) = p(1-p) .
# \end{aligned}
# $$
#
# The measured accuracy is a mean of $m$ answers, so its error is the mean of
# their errors. Chapter 6 had that with the errors of a batch: if the images
# are drawn at random, the products of different errors cancel out, and $m$
# squares over $m^2$ are left, $p(1-p)/m$. The root of that is the *standard
# error*, the size of error to reckon with:
#
# $$
# \text{standard error} = \sqrt{\frac{p(1-p)}{m}} .
# $$

# %%
def standard_error(accuracy, images):
    """How far a measured accuracy is off, typically."""
    return (accuracy * (1 - accuracy) / images) ** 0.5


print(f"{standard_error(0.85, 2000):.2%}")
assert 0.0075 < standard_error(0.85, 2000) < 0.0085

# %% [markdown]
# With 2,000 test images and an accuracy near 85 %, a measurement is off by
# about 0.8 points. Keep that in mind whenever somebody is proud of half a
# point.
#
# ## Look at the data
#
# Before anything is trained, look at what it is to be trained on. It is
# the cheapest way there is to find mistakes.

# %%
from tinyvit.data import load_dataset

train, test = load_dataset("fashion-mini")
if fast:
    train, test = train.limited(1000), test.limited(200)
print(train.images.shape, test.images.shape)
print(np.bincount(train.labels), np.bincount(test.labels))
assert np.ptp(np.bincount(train.labels)) == 0  # all equally many

# %% tags=["drawing"]
def draw(axis, image):
    """A grey image, without ticks, grid and frame."""
    axis.imshow(image[:, :, 0], cmap="gray_r", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)


figure, axes = style.new_figure(4.6, 5.2, 10, 7)
for kind, row in enumerate(axes):
    for axis, index in zip(row, np.flatnonzero(train.labels == kind)):
        draw(axis, train.images[index])
    row[0].set_ylabel(
        train.class_names[kind], rotation=0, ha="right", va="center"
    )
figure.suptitle("Ten kinds, and some are much alike", fontsize=11);

# %% [markdown]
# Ten kinds, equally many of each, so that guessing gives 10 %. The things
# stand upright in the middle, and shoes point to the left. Could *you* tell
# a shirt from a coat, at this size?
#
# ### Ask something simple first
#
# How good is 80 %? You can't tell without something to compare with. The
# simplest machine that names images learns nothing: for each test image it
# looks up the most similar training image, and gives its label. It is
# called the *nearest neighbour*. Similar means: the sum of the squared
# differences of all pixels is small. For images $a$ and $b$, as vectors of
# $28 \cdot 28 = 784$ numbers, and with $\lVert a \rVert^2$ for the sum of
# the squares of all numbers in $a$,
#
# $$
# \lVert a - b \rVert^2
# = \lVert a \rVert^2 - 2\, a \cdot b + \lVert b \rVert^2
# $$
#
# and so the distances of all pairs are one product of matrices.

# %%
def flat(data):
    """Images as rows of 784 numbers from 0 to 1."""
    return data.images.reshape(len(data), -1) / np.float32(255)


def distances(data, tested):
    """Squared distances: (tested images, images of data)."""
    a, b = flat(tested), flat(data)
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)
    return squares - 2 * a @ b.T


def nearest_neighbour(data, tested=test):
    """The accuracy of the label of the most similar image."""
    closest = distances(data, tested).argmin(axis=1)
    return np.mean(data.labels[closest] == tested.labels)


print(f"nearest neighbour: {nearest_neighbour(train):.1%}")
if not fast:
    assert 0.80 < nearest_neighbour(train) < 0.82

# %% [markdown]
# Nothing was learned, and it is right four times out of five! That is the
# mark to beat.
#
# The next simplest machine is a single linear layer. Let $X$ be the images
# as rows, $(n, 784)$, and $Y$ their labels, $(n, 10)$, with a 1 at the
# right kind and 0 elsewhere; from both we take their means away. We look
# for a matrix $W$, $(784, 10)$, such that $XW$ is close to $Y$, and add a
# little price for large weights, so that noise is not worth fitting. A
# number $\lambda$, in the code `penalty`, says how high the price is:
#
# $$
# \lVert XW - Y \rVert^2 + \lambda \lVert W \rVert^2
# $$
#
# Chapter 2 has its gradient: $2(XW - Y)$ arrives at $XW$, so
# $2 X^\top (XW - Y)$ gets to $W$, and the price adds $2 \lambda W$. Where
# the loss is smallest, their sum is zero:
#
# $$
# (X^\top X + \lambda I)\, W = X^\top Y
# $$
#
# with the *identity matrix* $I$, $(784, 784)$, which has ones on its
# diagonal and zeros elsewhere, so that $I W = W$. For each of the ten
# columns of $W$ these are 784 linear equations with 784 unknowns.
# `np.linalg.solve` solves them, and no steps are needed. This is called
# *ridge regression*.

# %%
def linear(data, tested=test, penalty=30.0):
    """The accuracy of ridge regression on the pixels."""
    x, y = flat(data), np.eye(10)[data.labels]
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = (x - mean_x).astype(float), y - mean_y
    penalties = penalty * np.eye(784)
    W = np.linalg.solve(x.T @ x + penalties, x.T @ y)
    guess = (flat(tested) - mean_x) @ W + mean_y
    return np.mean(guess.argmax(axis=1) == tested.labels)


print(f"linear: {linear(train):.1%}")
if not fast:
    assert 0.80 < linear(train) < 0.83
    for other in (10, 100):  # the penalty matters little
        assert abs(linear(train, penalty=other) - linear(train)) < 0.01

# %% [markdown]
# About as good as the nearest neighbour. We will meet both machines again.
#
# ## Augmentation looked at
#
# A shoe that points to the right is still a shoe. So from one training
# image we can make others: mirrored, moved, cropped. That is called
# *augmentation*, and each kind of it is a *claim*: this change leaves the
# label as it is. Mirroring takes two lines. Each image draws whether it is
# mirrored:

# %%
from tinyvit.data import Augmentation, augment


def flip(images, random):
    """Mirror about half of the images: (B, H, W, C)."""
    chosen = random.random(len(images)) < 0.5
    return np.where(
        chosen[:, None, None, None], images[:, :, ::-1], images
    )


few, labels = train.images[:8], train.labels[:8]
theirs, _ = augment(
    few, labels, 10, Augmentation(flip=True), np.random.default_rng(5)
)
ours = flip(few, np.random.default_rng(5))
np.testing.assert_array_equal(ours, theirs)
assert (ours != few).any()

# %% [markdown]
# tinyvit has six more. Here is what each can make of the same shoe, five
# times over.

# %%
kinds = {
    "flip": Augmentation(flip=True),
    "shift": Augmentation(shift=3),
    "random\nresized crop": Augmentation(
        random_resized_crop=(0.35, 1.0)
    ),
    "RandAugment": Augmentation(rand_augment=(2, 6)),
    "random erasing": Augmentation(erasing=1.0),
    "mixup": Augmentation(mixup=1.0),
    "cutmix": Augmentation(cutmix=1.0),
}
shoe = np.flatnonzero(train.labels == 7)[9]
batch = np.array([shoe, *np.flatnonzero(train.labels != 7)[:15]])

# %% tags=["drawing"]
figure, axes = style.new_figure(5, 4.9, 7, 6)
for (name, kind), row in zip(kinds.items(), axes):
    draw(row[0], train.images[shoe])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for number, axis in enumerate(row[1:]):
        changed, _ = augment(
            train.images[batch], train.labels[batch], 10, kind,
            np.random.default_rng(number),
        )
        draw(axis, changed[0])
axes[0, 0].set_title("original", loc="center", fontsize=9)
figure.suptitle("One shoe, seven ways to make more of it", fontsize=11);

# %% [markdown]
# Random resized crop cuts out a piece and stretches it to the whole size.
# RandAugment draws from a list: rotate, shear, contrast and others, here
# two in a row. Random erasing hides a rectangle behind noise. In a photograph
# things are large or small, whole or hidden, bright or dark, and such
# claims are true. Here they are not all: clothes that always stand in the
# middle will stand there in the test set, too.
#
# The last two blend two images, and with them their labels. *Mixup* draws
# a share between 0 and 1, say 0.47, and takes 0.47 of each pixel and 0.53
# of the same pixel of another image of the batch. *Cutmix* pastes a box out
# of the other image, and the share is that of the area which is left. Their
# labels, rows with a 1 at the right kind, are blended with the same share.
# The cross-entropy need not be changed for such labels: chapter 2 asked no
# more of a row than to sum to 1.

# %%
_, blended = augment(
    train.images[batch], train.labels[batch], 10, kinds["mixup"],
    np.random.default_rng(2),
)
for kind in np.flatnonzero(blended[0]):
    print(f"{blended[0, kind]:.2f} {train.class_names[kind]}")
assert np.allclose(blended.sum(axis=1), 1)
assert np.allclose(np.sort(blended[0])[-2:], (0.47, 0.53), atol=0.005)

# %% [markdown]
# ## The loop, built
#
# First the batches. An epoch shows each image once, in a new order each
# time. It looks random and is not: it depends on the *seed* (the number
# from which a random generator starts) and the number of the epoch, and on
# *nothing else*. That will matter when a run is stopped. (`SeedSequence`
# makes a stream of random numbers from the two. Without the `spawn_key` it
# would be the stream with which tinyvit changes the images of the epoch's
# first batch.)

# %%
from tinyvit.data import Loader


def batches(data, size, seed, epoch):
    """Batches of one epoch: images from -1 to 1, and labels."""
    stream = np.random.SeedSequence([seed, epoch], spawn_key=(0,))
    order = np.random.default_rng(stream).permutation(len(data))
    for first in range(0, len(data) - size + 1, size):
        chosen = order[first : first + size]
        yield data.images[chosen] / 127.5 - 1, data.labels[chosen]


loader = Loader(train, 64, seed=0)
count = 0
for mine, theirs in zip(batches(train, 64, 0, 3), loader.batches(3)):
    np.testing.assert_allclose(mine[0], theirs[0], atol=1e-6)
    np.testing.assert_array_equal(mine[1], theirs[1])
    count += 1
print(f"{count} batches of 64 images")
assert count == loader.steps == len(train) // 64

# %% [markdown]
# What is left over after the last whole batch sits this epoch out; in the
# next, the order is another. The `Loader` of tinyvit also augments, and
# makes a few batches ahead in a thread of its own, so that the model does
# not wait.
#
# Second, the evaluation: no gradients, each image once.

# %%
from tinyvit import no_grad
from tinyvit.data import normalise
from tinyvit.models import ViT, ViTConfig
from tinyvit.training import Workers, evaluate

config = ViTConfig.named(
    "nano", image_size=28, patch_size=7, channels=1, classes=10
)


def predict(model, data, size=250):
    """Logits for all images: (count, 10)."""
    with no_grad():
        return np.concatenate([
            model(normalise(data.images[i : i + size])).data
            for i in range(0, len(data), size)
        ])


model = ViT(config, seed=0, embedding_std=2.0)
model.head.weight.data[...] = np.random.default_rng(0).normal(
    size=model.head.weight.shape
)
by_hand = predict(model, test).argmax(axis=1)
with Workers(2) as workers:
    evaluation = evaluate(model, test, workers)
assert np.mean(by_hand == evaluation.predicted) > 0.99
print(f"untrained: {evaluation.accuracy:.1%}")

# %% [markdown]
# (A head that starts with zeros calls everything a T-shirt, so for this
# comparison we gave it random weights. 99 % and not all: where two answers
# are equally likely, rounding may decide.) `Workers(2)` splits a batch
# over two threads.
#
# Third, the loop itself. `TrainStep` is one step of chapter 6: forward,
# backward, clip, AdamW.

# %%
import itertools

from tinyvit.training import Recipe, TrainStep, learning_rate_at

recipe = Recipe(
    epochs=3, batch_size=64, learning_rate=3e-3, warmup_epochs=0.1,
    beta2=0.98, weight_decay=0.2, embedding_std=2.0, workers=2,
)


def endless(loader):
    """Batches of epoch 0, 1, 2, ... without an end."""
    for epoch in itertools.count():
        yield from loader.batches(epoch)


def rate_at(step, steps):
    """5 % of the steps rise to the peak; a cosine falls."""
    return learning_rate_at(
        step, peak=recipe.learning_rate, steps=steps,
        warmup_steps=max(1, steps // 20), schedule="cosine",
    )


PLAIN = Augmentation()  # images as they are


def train_on(data, steps, kind=PLAIN, every=75, tested=test):
    """Train a fresh nano; give it and its history."""
    model = ViT(config, seed=0, embedding_std=recipe.embedding_std)
    loader = Loader(data, 64, seed=0, augmentation=kind)
    history, right = [], 0
    with Workers(recipe.workers) as workers:
        one_step = TrainStep(model, recipe, workers)
        for step, batch in zip(range(steps), endless(loader)):
            rate = rate_at(step, steps)
            right += one_step(*batch, step, rate).correct
            if (step + 1) % every:
                continue
            measured = evaluate(model, tested, workers)
            history.append({
                "step": step + 1, "train": right / (every * 64),
                "test": measured.accuracy, "loss": measured.loss,
            })
            right = 0
    return model, history


# %% [markdown]
# The accuracy called `train` is counted as the batches go by, and costs
# nothing. Try it on 640 images:

# %%
from tinyvit.training.settings import DataSettings

chosen = DataSettings(limit_train=640, limit_test=200)
little, control = chosen.load()
ours, history = train_on(little, 30, every=10, tested=control)
for row in history:
    print(f"step {row['step']}: train {row['train']:.1%}, "
          f"test {row['test']:.1%}")
assert len(history) == 3
assert ours.num_parameters == 139_018

# %% [markdown]
# ## The loop, read
#
# `tinyvit.training.fit` is what `python -m tinyvit.train` runs. Let us
# read it. This little helper prints pieces of it, each from the first line
# that holds some words to the first after it that holds others:

# %%
import inspect
import textwrap

from tinyvit.training import fit


def show(thing, *pieces):
    """Print pieces of a function's source."""
    lines = inspect.getsource(thing).splitlines()
    shown = []
    for first, last in pieces:
        while first not in lines[0]:
            lines.pop(0)
        shown.append([lines.pop(0)])
        while last not in shown[-1][-1]:
            shown[-1].append(lines.pop(0))
    text = "\n\n".join("\n".join(piece) for piece in shown)
    text = textwrap.dedent(text).replace("\n\n", "\n[...]\n")
    assert max(map(len, text.splitlines())) <= 100
    print(text)


show(fit, ("recipe = run", "recipe ="), ("model = ViT", "model ="),
     ("state = TrainStep", "report.start"))

# %% [markdown]
# (`[...]` stands for lines left out.) A `run` is a folder, with the settings
# in it: model, recipe, data. The *state* is everything that changes from
# step to step. A file that holds it is a *checkpoint*. `load_checkpoint`
# puts the state back as it was saved, or leaves it as it is where nothing
# was saved yet. So starting and resuming are *the same code*:
# there is no second path that nobody tests. Then the outer loop:

# %%
show(fit, ("while progress.epoch", "_run_epoch"),
     ("if progress.step <", "return Outcome"),
     ("with state.flat.replaced_by", "evaluation ="),
     ("row = _finish", "report.epoch"))

# %% [markdown]
# An epoch of steps. If it ended early, because somebody asked the run to
# stop, save and return. Else evaluate, add a row to the history, save. (The
# line with `replaced_by` is for recipes that keep a moving average of the
# weights, next to the weights themselves. Ours does not.) And the inner
# loop:

# %%
from tinyvit.training.fit import _run_epoch

show(_run_epoch, ("for images", "return"))

# %% [markdown]
# Its heart is the line `unread.append(state(...))`, one step; `_count` adds
# its loss and its right answers to the epoch's. The waiting in between is
# for a GPU, which works on its own and is better not asked for numbers
# after each step; on a CPU `read_every` is 1. And `interrupted()`
# is how Ctrl-C gets in. A signal may arrive at any moment, also in the
# midst of an update, with half of the weights changed. So it only sets a
# flag, and the loop looks at the flag between two steps.
#
# Where does a run stand? `device_batches` starts at `progress.step`, and
# the random numbers of a batch come from the first of these lines:

# %%
show(Loader.transformed, ("random =", "return"))

# %% [markdown]
# Seed, epoch, number of the batch: nothing is handed on from one batch to
# the next. If one long stream of random numbers ran through the whole
# training instead, its state would have to be saved and put back, together
# with what the loader's thread has drawn ahead. Last, what is saved (three
# lines of `save_checkpoint`, then three of `_tensors`, which it calls):

# %%
from tinyvit.training.run import Run, _tensors

show(Run.save_checkpoint, ("tensors =", "write_tensors"))
show(_tensors, ("arrays =", 'arrays["average"]'))

# %% [markdown]
# The weights, the two running averages of AdamW (`optimizer.state`), and
# beside them, as `metadata`, how far the run has got. The averages are what
# one forgets most easily, and no error would say so: the run would go on,
# to other weights. So a test of resuming must compare the outcome bit by
# bit.
#
# ### Stopped and resumed
#
# Does it hold? Here is a run of three epochs of ten steps, as our own loop
# did it above. `fit` tells a *report* what it does; ours is silent.

# %%
import signal
import tempfile
from pathlib import Path

from tinyvit.models import load_model
from tinyvit.training.settings import Settings

temporary = tempfile.TemporaryDirectory()
runs = Path(temporary.name)
settings = Settings(config, recipe, chosen)


class Quiet:
    """A report that says nothing, and remembers where it began."""

    def start(self, progress, steps_an_epoch):
        self.began = progress.epoch, progress.step

    def step(self, progress): ...

    def epoch(self, row): ...


whole = Run.create(runs / "whole", settings)
outcome = fit(whole, little, control, Quiet())
for path in sorted(whole.folder.iterdir()):
    print(path.name)
assert not outcome.interrupted
theirs, _ = load_model(whole.model_path)
for (name, mine), (_, other) in zip(
    ours.named_parameters(), theirs.named_parameters()
):
    np.testing.assert_array_equal(mine.data, other.data, name)

# %% [markdown]
# Our loop and theirs end at the same weights, in every bit. (Both take one
# step to warm up: ours 5 % of 30 steps, rounded down, theirs the recipe's
# `warmup_epochs`, 0.1 of an epoch of ten steps. A `.safetensors` file holds
# named arrays; chapter 9 writes one by hand.)
#
# Now the same again, but after 17 steps somebody presses Ctrl-C. That sends
# the process the signal `SIGINT`; we send it ourselves.

# %%
class CtrlC(Quiet):
    """Asks the process to stop after so many steps."""

    def __init__(self, after):
        self.left = after

    def step(self, progress):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


stopped = Run.create(runs / "stopped", settings)
outcome = fit(stopped, little, control, CtrlC(after=17))
progress = outcome.progress
print(f"stopped: {progress.epoch} epoch and {progress.step} steps")
assert outcome.interrupted
assert (progress.epoch, progress.step) == (1, 8)

# %% [markdown]
# The flag is looked at after each step, and so the 18th, eight steps into
# the second epoch, was the last; then `fit` saved and returned. And now as
# if on another day: open the folder, go on.

# %%
fit(Run.open(stopped.folder), little, control, Quiet())
same = stopped.model_path.read_bytes() == whole.model_path.read_bytes()
print(f"the same bytes: {same}")
assert same

# %% [markdown]
# Not close: the same file, byte for byte. A harder case is a power cut.
# Nothing is saved when the lights go out, and what was done since the last
# epoch is lost. We play it with an exception that nobody expects.

# %%
class PowerCut(CtrlC):
    """Ends everything after so many steps."""

    def step(self, progress):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("dark")


cut = Run.create(runs / "cut", settings)
try:
    fit(cut, little, control, PowerCut(after=17))
except RuntimeError as error:
    print(error)

report = Quiet()
fit(Run.open(cut.folder), little, control, report)
print(f"went on after epoch {report.began[0]}, step {report.began[1]}")
assert report.began == (1, 0)
assert cut.model_path.read_bytes() == whole.model_path.read_bytes()

# %% [markdown]
# Seven steps were done again, and the end is the same. This also tells you
# what a checkpoint needs besides the right content: it must never be half
# written. tinyvit writes each to a new file, and renames it when it is
# whole.
#
# ## A run, and its curves
#
# Now all images, for some epochs.

# %%
import dataclasses

long = dataclasses.replace(recipe, epochs=2 if fast else 6)
everything = DataSettings(
    limit_train=len(train), limit_test=len(test)
)
run = Run.create(runs / "long", Settings(config, long, everything))
history = fit(run, train, test, Quiet()).progress.history
for row in history:
    print(f"epoch {row['epoch']}: "
          f"train {row['train_accuracy']:.1%}, "
          f"test {row['test_accuracy']:.1%}")
if not fast:
    assert history[-1]["test_accuracy"] > 0.83
    assert nearest_neighbour(train) < history[-1]["test_accuracy"]


# %% tags=["drawing"]
def curve(axis, x, y, name, colour):
    """A line with its name at its end."""
    axis.plot(x, y, color=colour, marker="o", markersize=3.5)
    axis.text(x[-1] + 0.02 * (x[-1] - x[0]), y[-1], name,
              color=colour, va="center")


figure, axes = style.new_figure(5.6, 2.7, 1, 2)
epochs = [row["epoch"] for row in history]
for axis, what, unit in zip(axes, ("loss", "accuracy"), (1, 100)):
    for name, colour in (("train", style.BLUE), ("test", style.ORANGE)):
        values = [unit * row[f"{name}_{what}"] for row in history]
        curve(axis, epochs, values, name, colour)
    axis.set_xlabel("epoch")
    axis.set_ylabel(what if unit == 1 else "accuracy, %")
    axis.set_xticks(epochs)
    axis.set_xlim(1, epochs[-1] * 1.22)
axes[0].set_title("Both fall ...")
axes[1].set_title("... and part: the gap");

# %% [markdown]
# (A finished `python -m tinyvit.train` leaves such a figure in its folder,
# `curves.png`.) At first the model is *better* on the test images. That is
# no wonder: the training accuracy is a mean over the whole epoch, from its
# clumsy beginning on, while the test comes at the end. Later the lines cross,
# and the training images are known better than new ones. That distance is
# the generalisation gap.

# %%
gaps = [r["train_accuracy"] - r["test_accuracy"] for r in history]
print(", ".join(f"{100 * gap:+.1f}" for gap in gaps), "points")
assert gaps[0] < 0
if not fast:
    assert gaps[-1] > 0

# %% [markdown]
# Be careful with one file in the folder: `best.safetensors` is the state
# with the highest *test* accuracy. It was chosen with the help of the test
# images, and so its accuracy on them is a little too good. Where that
# matters, choose on images that are in neither set, the *validation set*,
# and look at the test set once, at the very end. (Exercise 7.1.)
#
# ## What does it get wrong?
#
# One number hides much. The *confusion matrix* counts, for each true kind,
# what the images were taken for.

# %%
model, _ = load_model(run.model_path)
logits = predict(model, test)
predicted = logits.argmax(axis=1)
confusion = np.zeros((10, 10), int)
for truth, answer in zip(test.labels, predicted):
    confusion[truth, answer] += 1
with Workers(2) as workers:
    evaluation = evaluate(model, test, workers)
# Two images at most may differ, where rounding decides.
assert np.abs(evaluation.confusion - confusion).sum() <= 4

# %% tags=["drawing"]
figure, axis = style.new_figure(5.4, 4.7)
share = confusion / confusion.sum(axis=1, keepdims=True)
drawn = axis.imshow(share, cmap="cividis", vmin=0, vmax=1)
for row, column in np.argwhere(confusion):
    axis.text(column, row, confusion[row, column], ha="center",
              va="center", fontsize=8,
              color="black" if share[row, column] > 0.5 else "white")
axis.set_xticks(range(10), test.class_names, rotation=45, ha="right",
                rotation_mode="anchor")
axis.set_yticks(range(10), test.class_names)
axis.set_xlabel("taken for")
axis.set_ylabel("in truth")
axis.grid(False)
axis.set_title("Shoes are taken for shoes, and tops for tops")
figure.colorbar(drawn, label="share of the row", shrink=0.8);

# %% [markdown]
# The diagonal is what is right. Shoes (sandal, sneaker, ankle boot) are
# taken for other shoes, tops (T-shirt, pullover, dress, coat, shirt) for
# other tops, and hardly ever one for the other. The hardest kind is the
# shirt:

# %%
found = confusion.diagonal() / confusion.sum(axis=1)
worst = found.argmin()
print(f"{test.class_names[worst]}: {found[worst]:.0%} are found")
shoes, tops = [5, 7, 9], [0, 2, 3, 4, 6]
crossed = (confusion[np.ix_(shoes, tops)].sum()
           + confusion[np.ix_(tops, shoes)].sum())
mistakes = confusion.sum() - confusion.trace()
print(f"{crossed} of {mistakes} mistakes cross shoes and tops")
if not fast:
    assert test.class_names[worst] == "Shirt"
    assert crossed < 0.05 * mistakes

# %% [markdown]
# And here are the mistakes of which the model was most certain. They are
# the first place to look when something is wrong with the data.

# %%
odds = np.exp(logits - logits.max(axis=1, keepdims=True))
probabilities = odds / odds.sum(axis=1, keepdims=True)
certainty = probabilities.max(axis=1)
wrong = np.flatnonzero(predicted != test.labels)
certain = wrong[np.argsort(-certainty[wrong], kind="stable")][:8]

# %% tags=["drawing"]
figure, axes = style.new_figure(4.8, 4.3, 2, 4)
for axis, index in zip(axes.flat, certain):
    draw(axis, test.images[index])
    axis.set_title(
        f"{test.class_names[predicted[index]]}\n"
        f"{certainty[index]:.1%}",
        fontsize=9, color=style.VERMILION, loc="center",
    )
    truth = test.class_names[test.labels[index]]
    axis.set_xlabel(f"in truth:\n{truth}", fontsize=9)
figure.suptitle("The most certain mistakes", fontsize=11);

# %% [markdown]
# Cover the words and name them yourself. Some are hard, and a few labels
# one may well doubt. Where the label itself is a matter of opinion, nobody
# should expect 100 %.
#
# ## An experiment: what is an image worth?
#
# The paper's title ends with *at Scale*, and that is a condition: with few
# images a ViT does badly. How badly? Train the same model, for the same
# number of steps, on 100, 300, 1,000, 3,000 and 10,000 images. The fewer
# there are, the more often each is shown. Against it stand the two simple
# machines from above, on the same images.
#
# Guess first: is nano, with its 139,018 parameters, better than a nearest
# neighbour when there are 300 images? Better than a linear layer? And with
# 10,000?

# %%
counts = [100, 300] if fast else [100, 300, 1000, 3000, 10_000]
steps = 20 if fast else 500
histories = {
    count: train_on(train.limited(count), steps, every=steps // 10)[1]
    for count in counts
}
machines = {
    "nano": [histories[count][-1]["test"] for count in counts],
    "linear": [linear(train.limited(count)) for count in counts],
    "neighbour": [
        nearest_neighbour(train.limited(count)) for count in counts
    ],
}
print("images   ", *(f"{count:7,}" for count in counts))
for name, reached in machines.items():
    print(f"{name:9}", *(f"{share:7.1%}" for share in reached))

# %% tags=["drawing"]
figure, axis = style.new_figure(5.6, 3.4)
colours = [style.BLUE, style.ORANGE, style.GREY]
for (name, reached), colour in zip(machines.items(), colours):
    errors = [100 * standard_error(share, len(test))
              for share in reached]
    percent = [100 * share for share in reached]
    axis.errorbar(counts, percent, errors, color=colour, marker="o",
                  capsize=3)
    axis.text(counts[-1] * 1.12, percent[-1] + (
        0.6 if name == "linear" else -0.6 if name == "neighbour" else 0
    ), name, color=colour, va="center")
axis.set_xscale("log")
axis.set_xticks(counts, [f"{count:,}" for count in counts])
axis.minorticks_off()
axis.set_xlim(counts[0] * 0.85, counts[-1] * 2.6)
axis.set_xlabel("training images")
axis.set_ylabel("test accuracy, %")
axis.set_title("With few images a single linear layer wins");

# %% [markdown]
# With 300 images the linear layer beats the Transformer, which is hardly
# better than looking up the nearest image. With 3,000 the Transformer is
# ahead of both. From there to 10,000 it gains little more, perhaps because
# 500 steps show each of 10,000 images not even four times.

# %%
if not fast:
    nano, line, near = (
        dict(zip(counts, reached)) for reached in machines.values()
    )
    assert line[100] > nano[100] + 0.03
    assert line[300] > nano[300] + 0.02
    assert abs(nano[300] - near[300]) < 0.04
    assert nano[3000] > max(line[3000], near[3000]) + 0.01
    assert nano[10_000] > max(line[10_000], near[10_000]) + 0.01
    assert nano[10_000] - nano[3000] < nano[3000] - nano[1000]
    assert steps * 64 / 10_000 < 4

# %% [markdown]
# Why? A Transformer starts with almost no idea of what an image is. In
# chapter 3 you saw that it has to *find out* that two patches are
# neighbours. Whatever a model believes before it sees data is called its
# *inductive bias*. *Convolutional* networks, the older kind, have more of
# it built in: each number is computed from a small window of pixels, so
# neighbours count most, and with the same weights at every place, so what
# is learned in one corner holds in all. With few images that is a gift.
# With many, what is built in can be learned as well.
#
# We have not measured a convolutional network here. The paper has, at full
# size (section 4.3 with Figures 3 and 4): after training on ImageNet, 1.3
# million images by the paper's count, the convolutional networks are ahead;
# with the 300 million of its largest data set, the ViT overtakes them.
#
# A fair word on our own figure: each point is one run with one seed, and
# 500 steps are few. The bars are the standard error from above.
#
# ## What goes wrong
#
# ### Learning by heart
#
# Look into the run on 300 images. How often did the model see each? 500
# steps of 64 images are 32,000 showings.

# %%
few = histories[300]
print(f"each image is shown {steps * 64 / 300:.0f} times")
print(f"at the end: train {few[-1]['train']:.1%}, "
      f"test {few[-1]['test']:.1%}")
if not fast:
    assert few[-1]["train"] > 0.99 and few[-1]["test"] < 0.76

# %% tags=["drawing"]
figure, axes = style.new_figure(5.6, 2.7, 1, 2)
at = [row["step"] for row in few]
axes[0].axhline(100, color="#CCCCCC", linewidth=1)
for name, colour in (("train", style.BLUE), ("test", style.ORANGE)):
    curve(axes[0], at, [100 * row[name] for row in few], name, colour)
axes[0].set_ylabel("accuracy, %")
axes[0].set_title("Known by heart ...", fontsize=10)
axes[1].set_title("... and sure of its mistakes", fontsize=10)
curve(axes[1], at, [row["loss"] for row in few], "test", style.ORANGE)
axes[1].set_ylabel("test loss")
axes[1].set_ylim(0)
for axis in axes:
    axis.set_xlabel("step")
    axis.set_xlim(0, at[-1] * 1.25)
    axis.set_xticks([0, at[-1] // 2, at[-1]])

# %% [markdown]
# From the middle on at least 99 of 100 training images are right, and there
# is hardly anything left to learn from. The accuracy on new images stands
# still. The test loss *rises*: the model gets more certain of everything,
# also of what it gets wrong. This is *overfitting*, and the picture to know
# it by: the two curves part and don't meet again.

# %%
if not fast:
    half = len(few) // 2
    assert min(row["train"] for row in few[half:]) > 0.99
    assert few[-1]["loss"] > 1.5 * min(row["loss"] for row in few)
    assert abs(few[-1]["test"] - few[half]["test"]) < 0.02

# %% [markdown]
# The remedies are: more images; augmentation, which makes more of them out
# of what is there; stopping early. Guess again: does mirroring and shifting
# by one pixel help with 300 images? And with 10,000?

# %%
gentle = Augmentation(flip=True, shift=1)
print("images   without     with")
gain = {}
for count in (counts[1], counts[-1]):
    plain = histories[count][-1]["test"]
    _, with_it = train_on(
        train.limited(count), steps, gentle, every=steps
    )
    gain[count] = with_it[-1]["test"] - plain
    print(f"{count:6,} {plain:9.1%} {with_it[-1]['test']:8.1%}")
if not fast:
    assert gain[300] > 0.01 > 0 > gain[10_000]

# %% [markdown]
# With 300 images it helps. With 10,000 images and 500 steps it *hurts*: each
# image is shown not even four times, too few to be learned by heart, and
# the task has become harder. Augmentation is for long training. tinyvit's
# own recipe for these images turns it on from 15 epochs:

# %%
from tinyvit.training.recipe import default_augmentation

assert default_augmentation("fashion-mini", 15) == gentle
assert default_augmentation("fashion-mini", 14) == PLAIN

# %% [markdown]
# ### Test images in the training set
#
# The most expensive mistake makes everything look *better*, and so nobody
# searches for it. Suppose that someone joins two folders, and 300 of the
# test images get in among 300 training images.

# %%
leaked = test.limited(60 if fast else 300)
mixed = dataclasses.replace(
    train,
    images=np.concatenate([train.limited(300).images, leaked.images]),
    labels=np.concatenate([train.limited(300).labels, leaked.labels]),
)
model, _ = train_on(mixed, 20 if fast else 200, every=1000)
closest = distances(leaked, test).min(axis=1)
seen = closest < 1e-2
right = predict(model, test).argmax(axis=1) == test.labels
print(f"test images seen in training: {right[seen].mean():.1%}")
print(f"test images never seen:       {right[~seen].mean():.1%}")
assert seen.sum() == len(leaked)
if not fast:
    assert right[seen].mean() > 0.97 and right[~seen].mean() < 0.8

# %% [markdown]
# Nearly perfect on images that it knows, and below 80 % on others. A test
# set that leaks measures memory. In real data it comes about quietly:
# the same photograph in two sizes, frames of one film, several pictures of
# one patient. The remedy is to look for pairs that are too close, as the
# cell above did to find the leaked ones. Our data sets:

# %%
closest = distances(train, test).min(axis=1)
print(f"the closest pair is {closest.min():.2f} apart")
assert closest.min() > 0.1
temporary.cleanup()

# %% [markdown]
# No image is in both.
#
# ## Exercises
#
# ### Exercise 7.1: a validation set
#
# Write a function that gets the labels of a training set and a number, and
# chooses so many images at random to be held back. It returns two arrays
# of indices: those that stay for training, and those held back. The same
# seed must give the same choice.

# %% tags=["exercise"]
def hold_back(labels, count, seed=0):
    """Indices (to train on, to validate with)."""
    ...


# %% tags=["check"]
def check_hold_back(hold_back):
    """Says whether the function is right, and if not, why."""
    labels = np.repeat(np.arange(10), 100)  # sorted by kind!
    found = hold_back(labels, 200)
    if found is None:
        print("Not yet: the function returns nothing.")
        return False
    if len(found) != 2:
        print("Not yet: return two arrays, separated by a comma.")
        return False
    stay, held = map(np.asarray, found)
    if len(held) == 800 and len(stay) == 200:
        print("Not yet: first those that stay, then those held back.")
        return False
    if len(held) != 200:
        print(f"Not yet: 200 are to be held back, not {len(held)}.")
        return False
    if len(np.unique(held)) < 200:
        print("Not yet: some are held back twice. Draw without putting "
              "back: a permutation, cut in two.")
        return False
    if len(np.intersect1d(stay, held)):
        print("Not yet: some images are in both. That is the leak.")
        return False
    if len(np.union1d(stay, held)) < 1000 or len(stay) != 800:
        print("Not yet: each image belongs to one of the two, once.")
        return False
    if len(np.unique(labels[held])) < 10:
        print("Not yet: whole kinds are missing among those held back. "
              "Data often come sorted: shuffle before you cut.")
        return False
    again = hold_back(labels, 200)
    if not np.array_equal(np.sort(again[1]), np.sort(held)):
        print("Not yet: the second call chose others. A resumed run "
              "would train on what it had held back.")
        return False
    if np.array_equal(np.sort(hold_back(labels, 200, 1)[1]),
                      np.sort(held)):
        print("Not yet: the seed changes nothing.")
        return False
    print("Right!")
    return True


check_hold_back(hold_back);

# %% tags=["solution"]
def hold_back(labels, count, seed=0):
    """Indices (to train on, to validate with)."""
    order = np.random.default_rng(seed).permutation(len(labels))
    return order[count:], order[:count]


check_hold_back(hold_back);

# %% [markdown]
# ### Exercise 7.2: which two kinds are hardest to tell apart?
#
# Write a function that takes a confusion matrix, (K, K), and returns the
# pair of kinds, the smaller number first, with the most mistakes between
# them: those taken one for the other, in both directions.

# %% tags=["exercise"]
def hardest_pair(confusion):
    """(K, K) counts -> (i, j) with i < j."""
    ...


# %% tags=["check"]
def check_hardest_pair(hardest_pair):
    """Says whether the function is right, and if not, why."""
    example = np.array([
        [90, 1, 5, 0],
        [0, 80, 1, 9],
        [6, 1, 95, 0],
        [0, 0, 0, 70],
    ])
    before = example.copy()
    found = hardest_pair(example)
    if found is None:
        print("Not yet: the function returns nothing.")
        return False
    if not np.array_equal(example, before):
        print("Not yet: the function changed the matrix that it was "
              "given. Work on a copy.")
        return False
    if np.size(found) != 2:
        print("Not yet: return two numbers. argmax counts through all "
              "entries; np.unravel_index makes two of one.")
        return False
    found = tuple(int(kind) for kind in found)
    if found[0] == found[1]:
        print("Not yet: the diagonal is what was right. Leave it out.")
        return False
    if found in ((1, 3), (3, 1)):
        print("Not yet: 1 was often taken for 3, but 3 never for 1. "
              "Both directions count.")
        return False
    if found == (2, 0):
        print("Not yet: the right pair; the smaller number first.")
        return False
    if found != (0, 2):
        print(f"Not yet: {found[0]} and {found[1]} are mixed up less "
              "than others.")
        return False
    print("Right!")
    return True


check_hardest_pair(hardest_pair);

# %% tags=["solution"]
def hardest_pair(confusion):
    """(K, K) counts -> (i, j) with i < j."""
    both = np.triu(confusion + confusion.T, k=1)
    return np.unravel_index(both.argmax(), both.shape)


first, second = hardest_pair(confusion)
print(test.class_names[first], "and", test.class_names[second])
check_hardest_pair(hardest_pair);

# %% [markdown]
# ### Exercise 7.3: how many test images?
#
# Somebody wants to measure an accuracy near $p$ so well that two standard
# errors are at most $w$. Solve the formula for the number of images, and
# return the smallest whole number that will do.

# %% tags=["exercise"]
def images_needed(p, w):
    """So many that two standard errors are at most w."""
    ...


# %% tags=["check"]
def check_images_needed(images_needed):
    """Says whether the function is right, and if not, why."""
    found = images_needed(0.85, 0.01)
    if found is None:
        print("Not yet: the function returns nothing.")
        return False
    if round(found) in (1275, 1276):
        print("Not yet: that is for one standard error, not for two.")
        return False
    if round(found) in (2550, 2551):
        print("Not yet: is the factor 2 squared with the rest?")
        return False
    if not 5099 <= found <= 5101:
        print(f"Not yet: {found:.6g} images. Set two standard errors "
              "equal to w, and get rid of the root first.")
        return False
    if images_needed(0.9, 0.07) != 74:
        print("Not yet: for p = 0.9 and w = 0.07 the formula gives "
              "73.5. There are no half images, and 73 are too few.")
        return False
    print("Right!")
    return True


check_images_needed(images_needed);

# %% tags=["solution"]
def images_needed(p, w):
    """So many that two standard errors are at most w."""
    return int(np.ceil(p * (1 - p) * (2 / w) ** 2 - 1e-9))


check_images_needed(images_needed);

# %% [markdown]
# ## Further reading
#
# - Dosovitskiy et al. (2020),
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): section 4.3 with
#   Figures 3 and 4 (how much data a ViT needs); section 3.1, "Inductive
#   bias"; Table 3 in the appendix (how they trained).
# - Steiner et al., *How to train your ViT? Data, Augmentation, and
#   Regularization in Vision Transformers* (2021),
#   [arXiv:2106.10270](https://arxiv.org/abs/2106.10270): how augmentation
#   can take the place of data.
# - Zhang et al., *mixup* (2018),
#   [arXiv:1710.09412](https://arxiv.org/abs/1710.09412), and Yun et al.,
#   *CutMix* (2019), [arXiv:1905.04899](https://arxiv.org/abs/1905.04899).
# - Xiao, Rasul and Vollgraf, *Fashion-MNIST* (2017),
#   [arXiv:1708.07747](https://arxiv.org/abs/1708.07747).
# - `tinyvit/training/fit.py` and `tinyvit/training/run.py`: now you can
#   read them from top to bottom.
#
# Next: [kernels](08_kernels.ipynb).
