# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Learning
#
# **The question:** a gradient says in which direction each number of the
# model should change. By how much?
#
# ## Where we are
#
# You have built a Vision Transformer ([chapter
# 5](05_the_encoder_and_the_whole_vit.ipynb)) and can find the derivative
# of its loss for each of its weights ([chapter
# 1](01_a_machine_for_derivatives.ipynb)). What is missing is the part that
# changes them: the *optimiser*, and a plan for how boldly it may act, the
# *schedule*. With these you write a training loop of your own. And then
# you try to break it, in eleven ways, to learn what each part was for.
#
# ## The idea
#
# Think of the loss as a landscape: each weight is a direction to walk in,
# and the height is the loss. You stand in fog, and feel only how the ground
# slopes under your feet. So you take a step downhill, feel again, and so
# on. *How long a step* is the difficulty, because the ground may be steep
# in one direction and nearly flat in another.
#
# Here is such a valley with two weights, $(x^2 + 25 y^2) / 2$, and three
# walkers whom you will meet in this chapter. (Read their rules, the three
# short functions, once more when you have met them.)

# %%
import os

import numpy as np

from tinyvit.analysis import style

fast = "TINYVIT_FAST" in os.environ
STEEP = np.array([1.0, 25.0])  # how fast the slope grows in x and y


def slope(p):
    """The gradient of (x^2 + 25 y^2) / 2."""
    return STEEP * p


def walk(rule, steps=25):
    """The places that a walker visits, from (-9, 2)."""
    p, memory = np.array([-9.0, 2.0]), {}
    places = [p]
    for _ in range(steps):
        p = p + rule(slope(p), memory)
        places.append(p)
    return np.array(places)


def plain(g, memory):
    return -0.07 * g


def heavy(g, memory):
    memory["u"] = 0.7 * memory.get("u", 0) + g
    return -0.04 * memory["u"]


def adam(g, memory):
    t = memory["t"] = memory.get("t", 0) + 1
    m = memory["m"] = 0.8 * memory.get("m", 0) + 0.2 * g
    v = memory["v"] = 0.9 * memory.get("v", 0) + 0.1 * g * g
    return -0.7 * m / (1 - 0.8**t) / np.sqrt(v / (1 - 0.9**t))

# %% tags=["drawing"]
walks = [("gradient descent:\nzigzag", plain, style.VERMILION),
         ("with momentum:\nfaster", heavy, style.ORANGE),
         ("Adam:\neven steps", adam, style.BLUE)]
x, y = np.meshgrid(
    np.linspace(-10, 4, 200), np.linspace(-2.6, 2.6, 100)
)
figure, axes = style.new_figure(6.2, 2.5, 1, 3, sharey=True)
for axis, (name, rule, colour) in zip(axes, walks):
    axis.contour(x, y, (x**2 + 25 * y**2) / 2, colors="#CCCCCC",
                 levels=[1, 5, 15, 30, 50, 80], linewidths=0.8)
    path = walk(rule)
    axis.plot(*path.T, color=colour, marker=".", lw=1, markersize=4)
    axis.plot(0, 0, marker="+", color="black")
    axis.set_title(name)
    axis.set_xlabel("x")
    axis.grid(False)
axes[0].set_ylabel("y");

# %%
slow, rolling, even = (walk(rule) for _, rule, _ in walks)
assert (slow[0:8:2, 1] > 0).all() and (slow[1:8:2, 1] < 0).all()
assert abs(slow[-1, 0]) > 1 > 2 * np.abs(rolling[-1]).max()
np.testing.assert_allclose(np.abs(even[1] - even[0]), 0.7)

# %% [markdown]
# The first zigzags between the steep sides and gets along the valley
# slowly. The second picks up speed: after 25 steps it has arrived, and the
# first has not. The third begins with steps of one length in both
# directions, however steep they are. (Grey lines join places of equal
# height; the cross is the lowest.)
#
# ## Gradient descent
#
# Let $\theta$ (theta; in code `p`, for *parameters*) be all the weights in
# one long row of $n$ numbers, $\mathcal L(\theta)$ the loss, and $g$ its
# gradient, of the same shape. For a small step $\Delta$, the definition of
# the derivative says
#
# $$
# \mathcal L(\theta + \Delta)
# \approx \mathcal L(\theta) + \sum_i g_i \Delta_i .
# $$
#
# The sum is a dot product: the lengths of $g$ and $\Delta$, times the cosine
# of the angle between them. Of all steps of one length, it is most negative
# at the cosine -1, if $\Delta$ points against $g$. So go there, with a factor
# $\eta$ (eta), the *learning rate*:
#
# $$
# \theta \leftarrow \theta - \eta\, g .
# $$
#
# How large may $\eta$ be? Take one direction of the valley, $\mathcal L =
# h \theta^2 / 2$; $h$ is its *curvature*. The gradient is $h \theta$, and so
#
# $$
# \theta \leftarrow \theta - \eta h \theta = (1 - \eta h)\, \theta .
# $$
#
# Each step multiplies $\theta$ with the same number. It shrinks if that
# lies between -1 and 1, that is if $\eta < 2 / h$. Beyond this, each step
# leads farther up the other side. The steepest direction sets the limit for
# all.

# %%
def after(rate, steps=200, h=25.0):
    """How far from the bottom, after starting at 1."""
    p = 1.0
    for _ in range(steps):
        p = p - rate * h * p
    return abs(p)


for rate in (0.07, 0.079, 0.081, 0.1):
    print(f"rate {rate:5}: {after(rate):.1e}")
assert after(0.079) < 1 < after(0.081)  # the limit: 2 / 25 = 0.08

# %% [markdown]
# ### A few images stand for all
#
# The loss that we mean is the mean over *all* images. To take the gradient
# of a batch of a few images instead is called *stochastic* gradient
# descent, SGD. How far off is that? Let $e_b$ be the error of image $b$: by
# how much one number of its gradient differs from the mean over all images.
# The mean of $B$ such errors has the square
#
# $$
# \Bigl( \frac1B \sum_b e_b \Bigr)^2
# = \frac{1}{B^2} \Bigl( \sum_b e_b^2 + \sum_{b \neq c} e_b e_c \Bigr) .
# $$
#
# Over all images the errors have the mean 0. So if the images are drawn at
# random, the products of two different errors cancel out in the mean over
# many batches, as in chapter 4. What is left is $B$ squares over $B^2$, so
# the size of the error is that of a single image, divided by $\sqrt B$.
# Four times as many images halve the error, and cost four times as much.
# Let us see whether the rule holds for a real gradient, that of a model
# before training.

# %%
from tinyvit.autograd import gradients, softmax_cross_entropy
from tinyvit.data import load_dataset, normalise
from tinyvit.models import ViT, ViTConfig
from tinyvit.training import Workers

train, test = load_dataset("fashion-mini")
config = ViTConfig.named(
    "nano", image_size=28, patch_size=7, channels=1, classes=10
)


def gradient_of(model, images, labels):
    """The loss, and its gradient as a list of arrays."""
    targets = np.eye(10, dtype=np.float32)[labels]
    loss = softmax_cross_entropy(model(images), targets)
    return loss.item(), gradients(loss, model.parameters())


def as_row(arrays):
    """All numbers of all arrays in one row."""
    return np.concatenate([array.reshape(-1) for array in arrays])


# %%
model = ViT(config, seed=0, embedding_std=2.0)
model.head.weight.data = (
    np.random.default_rng(0).normal(0, 0.1, (64, 10)).astype(np.float32)
)
many = 512 if fast else 2048
images, labels = normalise(train.images[:many]), train.labels[:many]
with Workers(1):  # arrays so small are multiplied best by one thread
    each = [
        as_row(gradient_of(model, images[i : i + 4],
                           labels[i : i + 4])[1])
        for i in range(0, many, 4)
    ]
whole = np.mean(each, axis=0)


def error(batch):
    """Of batches of so many images, relative to the whole gradient."""
    joined = np.reshape(each, (-1, batch // 4, whole.size)).mean(axis=1)
    off = np.linalg.norm(joined - whole, axis=1).mean()
    return off / np.linalg.norm(whole)


errors = {batch: error(batch) for batch in (4, 16, 64)}
for batch, off in errors.items():
    print(f"batches of {batch:2}: off by {off:.2f} of the gradient")
assert 1.6 < errors[4] / errors[16] < 2.4
assert 1.6 < errors[16] / errors[64] < 2.4
assert errors[4] > 1.2

# %% [markdown]
# The rule holds. And look how poor a guide the gradient of a few images is:
# that of four misses the whole one by more than the length of the whole
# one. Training works because the errors of many steps cancel, and what they
# agree on remains.
#
# ## Momentum
#
# If the gradients of many steps point into one direction, one could walk
# faster; where they contradict each other, slower. So let a ball roll: it
# has a *velocity* $u$, of the shape of $\theta$, which each gradient pushes
# and which decays by a factor $\mu$ (mu), mostly 0.9:
#
# $$
# \begin{aligned}
# u &\leftarrow \mu u + g \\
# \theta &\leftarrow \theta - \eta u
# \end{aligned}
# $$
#
# If $g$ is always the same, $u$ grows towards $g (1 + \mu + \mu^2 + \dots)
# = g / (1 - \mu)$, ten times $g$. If $g$ alternates between $+1$ and $-1$,
# $u$ comes to alternate, too, between some $a$ and $-a$. Then $a = \mu \cdot
# (-a) + 1$, so $a = 1 / (1 + \mu)$, about a half. Along the valley it gains,
# across it loses.

# %%
def momentum_step(p, g, u, rate, mu):
    """New p and u, from arrays of equal shape."""
    u = mu * u + g
    return p - rate * u, u


steady = zigzag = 0.0
for t in range(200):
    _, steady = momentum_step(0.0, 1.0, steady, 1.0, 0.9)
    _, zigzag = momentum_step(0.0, (-1.0) ** t, zigzag, 1.0, 0.9)
print(f"always 1: {steady:.3f}; +1, -1, ...: {abs(zigzag):.3f}")
assert abs(steady - 10) < 1e-6 and abs(abs(zigzag) - 1 / 1.9) < 1e-6

# %% [markdown]
# In tinyvit the same is a kernel that changes the arrays in place. The
# paper uses momentum for *fine-tuning*, that is to go on training a
# trained model on other images (its appendix B.1.1).

# %%
from tinyvit import kernels

random = np.random.default_rng(0)
p, u = random.normal(size=50), np.zeros(50)
theirs, velocity = p.copy(), u.copy()
for _ in range(10):
    g = random.normal(size=50)
    p, u = momentum_step(p, g, u, rate=0.1, mu=0.9)
    kernels.sgd_step(theirs, g, velocity, learning_rate=0.1,
                     momentum=0.9, weight_decay=0.0)
np.testing.assert_allclose(p, theirs)

# %% [markdown]
# ## Adam: every weight has a step length of its own
#
# Some weights have far larger gradients than others. Here are those of all
# weights that we averaged above:

# %%
small, middle, large = np.percentile(np.abs(whole), [5, 50, 95])
print(f"5 % are below {small:.0e}, half below {middle:.0e}, "
      f"5 % above {large:.0e}")
assert large > 50 * small

# %% [markdown]
# One rate cannot suit them all. *Adam* (2014) divides each weight's
# gradient by how large this weight's gradients usually are. It keeps two
# running averages, both of the shape of $\theta$: of the gradient, and of
# its square.
#
# $$
# \begin{aligned}
# m &\leftarrow \beta_1 m + (1 - \beta_1)\, g \\
# v &\leftarrow \beta_2 v + (1 - \beta_2)\, g^2
# \end{aligned}
# $$
#
# Both start at zero, and so are too small at first. By how much? If $g$
# has always been the same, then after $t$ steps
#
# $$
# \begin{aligned}
# m &= (1 - \beta_1)(1 + \beta_1 + \dots + \beta_1^{t-1})\, g \\
#   &= (1 - \beta_1^t)\, g ,
# \end{aligned}
# $$
#
# since the sum in brackets is $(1 - \beta_1^t) / (1 - \beta_1)$. Dividing by
# $1 - \beta_1^t$ puts it right, and in the same way for $v$. This is
# called *bias correction*. The step is
#
# $$
# \begin{gathered}
# \hat m = \frac{m}{1 - \beta_1^t}, \qquad
# \hat v = \frac{v}{1 - \beta_2^t}, \\
# \theta \leftarrow
#   \theta - \eta \frac{\hat m}{\sqrt{\hat v} + \varepsilon}
# \end{gathered}
# $$
#
# with a tiny $\varepsilon$ (epsilon) against division by zero. If the
# gradient stays about the same, $\hat m / \sqrt{\hat v}$ is about $\pm 1$,
# and the weight moves by $\eta$. If its sign keeps changing, $\hat m$ is
# near 0, and the weight waits until there is agreement.
#
# ### Weight decay
#
# Large weights make large logits, and a model that is very sure of itself.
# To let weights grow only where the data insist on it, each step draws them
# towards zero a little, by the share $\eta \lambda$ ($\lambda$, lambda, is
# called the *weight decay*):
#
# $$
# \theta \leftarrow \theta - \eta \lambda \theta
# $$
#
# It would seem the same to add $\lambda \theta$ to the gradient, as one
# does with SGD. But Adam would divide it by $\sqrt{\hat v}$, and the weights
# with the largest gradients would decay least. To keep decay apart from the
# gradient is the W in *AdamW* (2017).

# %%
class MyAdamW:
    """AdamW for a list of arrays, which it changes in place."""

    def __init__(self, arrays, decays, beta1=0.9, beta2=0.999):
        self.arrays, self.decays = arrays, decays  # lambda for each
        self.beta1, self.beta2, self.t = beta1, beta2, 0
        self.m = [np.zeros_like(p) for p in arrays]
        self.v = [np.zeros_like(p) for p in arrays]

    def step(self, found, rate):
        """One step along the gradients `found`."""
        self.t += 1
        fix1 = 1 - self.beta1**self.t
        fix2 = 1 - self.beta2**self.t
        for i, (p, g) in enumerate(zip(self.arrays, found)):
            self.m[i] = self.beta1 * self.m[i] + (1 - self.beta1) * g
            self.v[i] = self.beta2 * self.v[i] + (1 - self.beta2) * g**2
            size = np.sqrt(self.v[i] / fix2) + 1e-8
            p -= rate * self.decays[i] * p
            p -= rate * (self.m[i] / fix1) / size


# %% [markdown]
# ### The same in tinyvit

# %%
p = random.normal(size=50)
theirs, mean, variance = p.copy(), np.zeros(50), np.zeros(50)
mine = MyAdamW([p], [0.1])
for step in range(1, 21):
    g = random.normal(size=50) * np.logspace(-4, 4, 50)
    before = p.copy()
    mine.step([g], rate=0.01)
    kernels.adamw_step(
        theirs, g, mean, variance, step=step, learning_rate=0.01,
        beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.1,
    )
    if step == 1:
        moved = np.abs(p - before * (1 - 0.01 * 0.1))
        print(f"first step: {moved.min():.6f} to {moved.max():.6f}")
        np.testing.assert_allclose(moved, 0.01, rtol=1e-3)
np.testing.assert_allclose(p, theirs)

# %% [markdown]
# The gradients here range over eight orders of magnitude, and yet in the
# first step every weight has moved by the learning rate (after one step,
# $\hat m = g$ and $\hat v = g^2$, so their quotient is the sign of $g$).
# That is what chapter 5's nudge imitated.
#
# ### What decays?
#
# Decay is meant for matrices, which multiply. A bias is added, and so are
# the class token and the positions. The gain of a layer norm should be near
# 1: drawn towards zero it would silence its branch. So tinyvit decays the
# matrices only, as the authors' code does. To make it fast, it keeps all
# parameters in one array (`FlatParameters`), with matrices in front.

# %%
from tinyvit.training.flat import FlatParameters

model = ViT(config, seed=0, embedding_std=2.0)
flat = FlatParameters(model)
for name, weight in list(model.named_parameters())[:9]:
    print(f"{name:31} {'decays' if weight.ndim == 2 else 'stays'}")
share = flat.decay_end / flat.data.size  # where the matrices end
print(f"{share:.1%} of all numbers decay")
assert 0.95 < share < 1

# %% [markdown]
# ## How the rate changes: the schedule
#
# Far from the goal long steps are good, close to it they step over it. And
# at the very first steps Adam knows little: its $\hat v$ rests on one or
# two gradients, yet every weight moves by a full $\eta$. So the rate rises
# from near 0 to its *peak* in a *warm-up* of $w$ steps, and then falls to 0
# along half a wave of a cosine, at step $s$ of $S$:
#
# $$
# \eta_s = \eta_\text{peak} \cdot
# \begin{cases}
# (s + 1) / w & s < w \\
# \tfrac12 \left(1 + \cos \pi \frac{s - w}{S - w}\right) & s \geq w
# \end{cases}
# $$
#
# It is a function of the step and nothing else, so that a run that was cut
# off can go on as if nothing had been. (The paper warms up for 10,000 steps.
# After that it takes the cosine on ImageNet, and a straight line down to 0
# on the larger data sets: its Table 3.)

# %%
def my_rate(step, peak, steps, warmup):
    """The learning rate at a step, from 0 to steps - 1."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)
    return peak * 0.5 * (1 + np.cos(np.pi * done))


# %%
from tinyvit.training import learning_rate_at

rates = [my_rate(step, 3e-3, 1000, 100) for step in range(1000)]
np.testing.assert_allclose(rates, [
    learning_rate_at(step, peak=3e-3, steps=1000, warmup_steps=100,
                     schedule="cosine")
    for step in range(1000)
])

# %% tags=["drawing"]
figure, axis = style.new_figure(6, 2.3)
axis.plot(rates, color=style.BLUE)
axis.axvline(99, color=style.GREY, linestyle=":")
axis.text(110, 2e-4, "warm-up ends", color=style.GREY)
axis.text(560, 2e-3, "half a cosine", color=style.BLUE)
axis.set_xlim(0, 1000)
axis.set_ylim(0)
axis.set_xlabel("step")
axis.set_ylabel("learning rate")
axis.set_title("Up in a line, down in a wave");

# %% [markdown]
# In the book's web page there is a figure to play with here: change the
# peak and the warm-up, and see what becomes of the loss.
#
# <!-- interactive: learning-rate -->
#
# ## Clipping
#
# Now and then a batch may give a gradient that is far longer than usual,
# and one such step can undo many good ones. So its length is limited. The
# length, or *norm*, is that of the whole row, over all weights together:
#
# $$
# \|g\| = \sqrt{\textstyle\sum_i g_i^2}, \qquad
# g \leftarrow g \cdot \min\left(1, \frac{c}{\|g\|}\right)
# $$
#
# Since all numbers are multiplied with one factor, the direction stays. If
# each array were clipped by itself, it would turn. The paper uses $c = 1$
# when it trains on ImageNet and when it fine-tunes (its appendix B.1).

# %%
def clipped(found, largest):
    """The gradients, shortened together if they are too long."""
    length = np.sqrt(sum(float((g**2).sum()) for g in found))
    factor = min(1.0, largest / length)
    return [g * np.float32(factor) for g in found]


found = [random.normal(size=(3, 4)), random.normal(size=5)]
squared = kernels.squared_norm(as_row(found))
# It also looks at the loss: infinite or NaN, and no step is made.
scale = kernels.clip_scale(squared, loss=0.0, largest=1.0)
short = as_row(clipped(found, 1.0))
np.testing.assert_allclose(short, as_row(found) * scale, rtol=1e-6)
print(f"{squared**0.5:.2f} -> {np.linalg.norm(short):.2f}")

# %% [markdown]
# ## A training loop
#
# All is there. Recall the loss from chapter 2: the *cross-entropy*, minus
# the logarithm of the probability that the model gives to the right class.
# It is $\ln 10 \approx 2.30$ for guessing among ten, and 0 if the model is
# sure and right.

# %%
def training(model, batches, peak=3e-3, warmup=10, largest=1.0):
    """Train on a list of (images, labels); gives the losses."""
    weights = model.parameters()
    mine = MyAdamW(
        [weight.data for weight in weights],
        [0.2 if weight.ndim == 2 else 0.0 for weight in weights],
        beta2=0.98,
    )
    losses = []
    with Workers(1):  # one thread
        for step, (images, labels) in enumerate(batches):
            loss, found = gradient_of(model, images, labels)
            rate = my_rate(step, peak, len(batches), warmup)
            mine.step(clipped(found, largest), np.float32(rate))
            losses.append(loss)
    return losses


# %% [markdown]
# ### First, overfit one batch
#
# Before you let a new training loop loose on data, give it *one* batch,
# again and again. A model of 139,018 weights can learn 64 images by heart:
# the loss must go to almost 0. If it does not, something is broken, and you
# know it after seconds and not after a day. Here is this test for our loop,
# and beside it for a loop with a mistake: the images are shuffled, and the
# labels are shuffled separately.

# %%
def new_model(seed=0):
    return ViT(config, seed=seed, embedding_std=2.0)


images, labels = normalise(train.images[:64]), train.labels[:64]
again = 30 if fast else 100
good = training(new_model(), [(images, labels)] * again)
draw = np.random.default_rng(1)
bad = training(new_model(), [
    (images[draw.permutation(64)], labels[draw.permutation(64)])
    for _ in range(again)
])

# %% tags=["drawing"]
figure, axis = style.new_figure(6, 2.5)
axis.plot(good, color=style.BLUE)
axis.plot(bad, color=style.VERMILION)
axis.text(again, good[-1] + 0.1, "one batch", color=style.BLUE,
          ha="right")
axis.text(again, bad[-1] - 0.3, "with the mistake", ha="right",
          color=style.VERMILION)
axis.set_xlim(0, again)
axis.set_ylim(0, 2.8)
axis.set_xlabel("step")
axis.set_ylabel("loss")
axis.set_title("Learning 64 images by heart");

# %%
print(f"one batch {good[-1]:.3f}, with the mistake {bad[-1]:.3f}")
assert good[-1] < (1 if fast else 0.1) and bad[-1] > 2
assert abs(good[0] - np.log(10)) < 1e-3
assert new_model().num_parameters == 139_018

# %% [markdown]
# Note how the mistake shows: no error, no warning, nothing but a loss that
# stays at guessing. (It falls a little below $\ln 10$ because some classes
# are more frequent in the batch than others, and that can be learned from
# labels in any order. What such guessing can reach is the *entropy* of the
# labels, $-\sum_k f_k \ln f_k$, with $f_k$ the share of class $k$.)

# %%
share = np.bincount(labels, minlength=10) / len(labels)
entropy = -(share * np.log(share)).sum()
print(f"entropy of the labels {entropy:.3f}")
assert abs(entropy - bad[-1]) < 0.1

# %% [markdown]
# ### The same in tinyvit
#
# `TrainStep` is this loop's body, with the arithmetic in kernels, the batch
# shared among threads, and a few options that are off here. The losses of
# both must agree, up to the roundings of float32.

# %%
from tinyvit.data import Loader
from tinyvit.training import Recipe, TrainStep

loader = Loader(train, 64, seed=0)
batches = list(loader.batches(0))
some = batches[:12]
mine = training(new_model(), some, warmup=4)
recipe = Recipe(batch_size=64, beta2=0.98, weight_decay=0.2, clip=1.0)
theirs = []
with Workers(2) as workers:
    one_step = TrainStep(new_model(), recipe, workers)
    for step, (images, labels) in enumerate(some):
        rate = my_rate(step, 3e-3, len(some), 4)
        theirs.append(one_step(images, labels, step, rate).loss)
np.testing.assert_allclose(mine, theirs, rtol=1e-3)
print(np.round(mine[::4], 4), np.round(theirs[::4], 4))

# %% [markdown]
# ## An experiment: a gallery of failures
#
# Now change one or two things at a time. Each run is 200 steps of 64
# images, from the same first weights. **Guess** before you look: which will
# fail (stay near 2.3), which will be slow, and which will not care?
#
# | | changed |
# |---|---|
# | A | nothing |
# | B | no warm-up |
# | C | no clipping |
# | D | learning rate x 30 |
# | E | learning rate x 30 and no warm-up |
# | F | learning rate / 30 |
# | G | SGD with momentum, without decay, at AdamW's rate, 0.003 |
# | H | the same at 0.03 |
# | I | no norms |
# | J | the blocks' initial weights x 10 |
# | K | the blocks' initial weights x 0 |
# | L | a head that is not zero at first, but far too large |

# %%
from tinyvit.nn import EncoderBlock


class NoNorm(EncoderBlock):  # as in chapter 5
    def __call__(self, z, asking=None):
        z = z[:, :asking] + self.attention(z, asking)
        return z + self.mlp(z)


def without_norm(model):
    for block in model.blocks:
        block.__class__ = NoNorm  # its weights stay, __call__ changes


def initial_weights(factor):
    def change(model):
        for block in model.blocks:
            for weight in block.parameters():
                if weight.ndim == 2:
                    weight.data *= np.float32(factor)
    return change


def large_head(model):
    draw = np.random.default_rng(1)
    values = 10 * draw.normal(size=model.head.weight.shape)
    model.head.weight.data = values.astype(np.float32)


# %%
STEPS = 5 if fast else 200
all_batches = [*batches, *loader.batches(1)][:STEPS]


def run(peak=3e-3, warmup=STEPS // 20, change=None, **options):
    """The loss at each step, with something changed."""
    model = new_model()
    if change is not None:
        change(model)
    settings = {"beta2": 0.98, "weight_decay": 0.2, **options}
    recipe = Recipe(batch_size=64, **settings)
    losses = []
    with Workers(2) as workers:
        one_step = TrainStep(model, recipe, workers)
        for step, (images, labels) in enumerate(all_batches):
            rate = my_rate(step, peak, STEPS, warmup)
            losses.append(one_step(images, labels, step, rate).loss)
    return losses


sgd = {"optimizer": "sgd", "weight_decay": 0.0}
gallery = {
    "A nothing changed": {},
    "B no warm-up": {"warmup": 0},
    "C no clipping": {"clip": 0.0},
    "D rate x 30": {"peak": 0.09},
    "E rate x 30, no warm-up": {"peak": 0.09, "warmup": 0},
    "F rate / 30": {"peak": 1e-4},
    "G SGD, rate 0.003": sgd,
    "H SGD, rate 0.03": {**sgd, "peak": 0.03},
    "I no norms": {"change": without_norm},
    "J initial weights x 10": {"change": initial_weights(10)},
    "K initial weights x 0": {"change": initial_weights(0)},
    "L huge head": {"change": large_head},
}
runs = {name: run(**options) for name, options in gallery.items()}
final = {name: np.mean(losses[-20:]) for name, losses in runs.items()}

# %% tags=["drawing"]
def colour_of(loss):
    """Blue as good as A, orange worse, vermilion much worse."""
    if loss < final["A nothing changed"] + 0.15:
        return style.BLUE
    return style.ORANGE if loss < 1 else style.VERMILION


def smooth(values, over=1 if fast else 10):
    return np.convolve(values, np.ones(over) / over, mode="valid")


figure, axes = style.new_figure(
    6.2, 7, 4, 3, sharex=True, sharey=True
)
for axis, (name, losses) in zip(axes.flat, runs.items()):
    axis.plot(smooth(runs["A nothing changed"]), color="#BBBBBB", lw=1)
    axis.plot(smooth(losses), color=colour_of(final[name]))
    axis.set_title(name, fontsize=10)
    axis.text(0.95, 0.8, f"{final[name]:.2f}", ha="right",
              weight="bold", color=colour_of(final[name]),
              transform=axis.transAxes)
    axis.set_ylim(0, 3.5)
for axis in axes[-1]:
    axis.set_xlabel("step")
for axis in axes[:, 0]:
    axis.set_ylabel("loss")
figure.suptitle(
    "Most of eleven changes do harm (grey: A)\n"
    "lines: mean of 10 steps; numbers: of the last 20",
    x=0.01, ha="left", fontsize=11,
);

# %%
for name, loss in final.items():
    print(f"{name:24} {loss:.2f}, at worst {max(runs[name]):5.1f}")
if not fast:
    normal = final["A nothing changed"]
    assert normal < 0.7
    for name, loss in final.items():
        if name[0] in "BCH":
            assert abs(loss - normal) < 0.2
        if name[0] in "DEFGIJ":
            assert loss > normal + 0.2
    assert max(runs["L huge head"]) > 50 and final["L huge head"] < 1.2
    assert abs(final["K initial weights x 0"] - np.log(10)) < 0.05
    shocked, calm = runs["E rate x 30, no warm-up"], runs["D rate x 30"]
    assert max(shocked) > max(calm) + 1

# %% [markdown]
# Go through them one by one.
#
# **B and C do not fail.** With four blocks, pre-norm, a head of zeros and a
# moderate rate, neither warm-up nor clipping is missed. They are an
# insurance against accidents that this model does not have. A book that
# told you that training fails without them would be wrong about this model.
#
# **D and E are too fast.** Each step overshoots, and only when the cosine
# has brought the rate down does the loss begin to fall, too late. Without
# warm-up the loss shoots up in the first steps, far above where it ever is
# with it. This is what warm-up is for. (Which of the two ends lower is luck,
# with runs so wild.)
#
# **F is too slow**, by the same factor. Its smooth curve looks healthier
# than D's, and yet it has learned little at the end. Few choices count as
# much as the learning rate. So tune it first, in steps of a factor of 3.
#
# **G and H** show that each optimiser has a rate of its own. SGD is hardly
# worse here if it gets ten times AdamW's rate.
#
# **I, no norms**, does learn with four blocks, which it did not with twelve
# in chapter 5, but badly.
#
# **J, large weights.** A step of Adam moves a weight by about $\eta$,
# whatever its size: weights ten times as large need ten times as many steps
# to change by the same share. And the scores of attention are products of
# two such matrices, so softmax saturates (chapter 4), and each token stares
# at a single one:

# %%
def most_looked_at(factor):
    """The largest attention weight, in the mean, in block 1."""
    model = new_model()
    initial_weights(factor)(model)
    maps = model.attention_maps(normalise(train.images[:64]))
    return maps[0].max(axis=-1).mean()


for factor in (1, 10):
    print(f"x {factor:2}: {most_looked_at(factor):.2f}")
assert most_looked_at(1) < 0.6 and most_looked_at(10) > 0.9

# %% [markdown]
# **K, zeros, never moves.** In each branch two matrices stand one after the
# other, both zero, and each has a gradient of zero because of the other.
# The class token hears nothing of the image, and the loss stays at that of
# guessing. Chapter 5 has told why: one zero on the way is harmless, two are
# not.
#
# **L, a huge head**, has a loss above fifty at first: it is sure, and wrong.
# But training repairs it, if it gets the time. So a first loss far from
# $\ln K$, with $K$ classes, is a sign to look for, though not the end.
#
# Now compare the *shapes* of the curves. Too fast, too slow and zeros look
# different, and after some practice you read the cause off the curve.
#
# ## Exercises
#
# ### Exercise 6.1: when is Adam's memory half full?
#
# After $t$ steps, Adam's average of squares has gathered the share
# $1 - \beta^t$ of its full weight. Write a function that gives the number
# of steps after which this is at least one half.

# %% tags=["exercise"]
def steps_to_half(beta):
    """The smallest whole t with 1 - beta^t >= 1/2."""
    ...


# %% tags=["check"]
def check_steps_to_half(steps_to_half):
    """Says whether the function is right, and if not, why."""
    for beta in (0.9, 0.98, 0.999, 0.5):
        found = steps_to_half(beta)
        if found is None:
            print("Not yet: the function returns nothing.")
            return False
        if beta > 0.5 and np.isclose(found, 1 / (1 - beta)):
            print("Not yet: 1 / (1 - beta) is often taken as how far "
                  "back it looks. The question is another one.")
            return False
        if found != int(found):
            print(f"Not yet: {found} is no whole number. Round up.")
            return False
        if 1 - beta**found < 0.5:
            print(f"Not yet: for beta = {beta}, {found} steps give "
                  f"only {1 - beta**found:.4f}.")
            return False
        if found > 0 and 1 - beta ** (found - 1) >= 0.5:
            print(f"Not yet: for beta = {beta}, {found - 1} steps are "
                  "enough already.")
            return False
    print("Right!")
    return True


check_steps_to_half(steps_to_half);

# %% tags=["solution"]
def steps_to_half(beta):
    """The smallest whole t with 1 - beta^t >= 1/2."""
    t = 0
    while 1 - beta**t < 0.5:  # or: log(1/2) / log(beta), rounded up
        t += 1
    return t


check_steps_to_half(steps_to_half);

# %%
assert steps_to_half(0.999) == 693 and steps_to_half(0.98) == 35

# %% [markdown]
# With the paper's $\beta_2 = 0.999$ that is 693 steps, longer than any run
# of this chapter. For short trainings we take 0.98: 35 steps.
#
# ### Exercise 6.2: find the two mistakes
#
# This step of AdamW looks right, and models would learn with it. Compare it
# with the formulas above, and mend it.

# %% tags=["exercise"]
def adamw(p, g, m, v, t, rate, decay, beta1=0.9, beta2=0.999):
    """New p, m and v after step number t, from 1."""
    g = g + decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    p = p - rate * m / (np.sqrt(v) + 1e-8)
    return p, m, v


# %% tags=["check"]
def check_adamw(adamw):
    """Says whether the step is right, and if not, why."""
    draw = np.random.default_rng(7)

    def agrees(decay, steps):
        p, m, v = draw.normal(size=20), np.zeros(20), np.zeros(20)
        right = [p.copy(), m.copy(), v.copy()]
        for t in range(1, steps + 1):
            g = draw.normal(size=20)
            p, m, v = adamw(p, g, m, v, t, 0.01, decay)
            kernels.adamw_step(
                right[0], g, right[1], right[2], step=t,
                learning_rate=0.01, beta1=0.9, beta2=0.999, eps=1e-8,
                weight_decay=decay,
            )
        return np.allclose(p, right[0], rtol=0, atol=1e-6 + decay / 500)

    try:
        if not agrees(0.0, 1):
            print("Not yet: even without decay the first step has "
                  "another length. Which averages start at zero?")
            return False
        if not agrees(0.0, 5):
            print("Not yet: the first step is right, later ones are "
                  "not. How does the correction depend on t?")
            return False
        if not agrees(1.0, 5):
            print("Not yet: all is right but the decay. It should not "
                  "pass through m and v, and is multiplied by the "
                  "rate.")
            return False
    except (TypeError, ValueError):
        print("Not yet: return p, m and v.")
        return False
    print("Right!")
    return True


check_adamw(adamw);

# %% tags=["solution"]
def adamw(p, g, m, v, t, rate, decay, beta1=0.9, beta2=0.999):
    """New p, m and v after step number t, from 1."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    step = (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)
    return p - rate * decay * p - rate * step, m, v


check_adamw(adamw);

# %% [markdown]
# ### Exercise 6.3: a batch in parts
#
# A batch is too large for the memory, or is shared among threads. Each part
# gives its own *mean* gradient. Put them together into the mean gradient of
# the whole batch. The parts need not be equally large.

# %% tags=["exercise"]
def joined(found, counts):
    """The mean gradient of a batch, from those of its parts.

    found: one array for each part, all of one shape; counts: how many
    images each part had.
    """
    ...


# %% tags=["check"]
def check_joined(joined):
    """Says whether the function is right, and if not, why."""
    draw = np.random.default_rng(8)
    each = draw.normal(size=(10, 3, 2))
    for counts in ([5, 5], [4, 4, 2], [7, 3], [10]):
        ends = np.cumsum(counts)
        parts = [
            each[end - count : end].mean(axis=0)
            for end, count in zip(ends, counts)
        ]
        before = [part.copy() for part in parts]
        found = joined(parts, counts)
        if found is None:
            print("Not yet: the function returns nothing.")
            return False
        if not all(map(np.array_equal, parts, before)):
            print("Not yet: the parts were changed. Others may need "
                  "them; make a new array.")
            return False
        if np.shape(found) != (3, 2):
            print(f"Not yet: the shape should stay (3, 2), not "
                  f"{np.shape(found)}.")
            return False
        if np.allclose(found, each.mean(axis=0)):
            continue
        if np.allclose(found, np.mean(parts, axis=0)):
            print("Not yet: right for equal parts, but a part of 7 "
                  "images counts more than one of 3.")
        elif np.allclose(found, np.sum(parts, axis=0)):
            print("Not yet: that is the sum. Twice as many parts would "
                  "make steps twice as long.")
        else:
            print(f"Not yet: for {counts} images the result is wrong. "
                  "Weight each part by its share of the batch.")
        return False
    print("Right!")
    return True


check_joined(joined);

# %% tags=["solution"]
def joined(found, counts):
    """The mean gradient of a batch, from those of its parts."""
    total = sum(counts)
    return sum(g * (count / total) for g, count in zip(found, counts))


check_joined(joined);

# %% [markdown]
# ## Further reading
#
# - Dosovitskiy et al. (2020),
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): appendix B.1 with
#   Table 3 (training: rates, decay, warm-up) and Table 4 (fine-tuning).
# - Kingma and Ba, *Adam: A Method for Stochastic Optimization* (2014),
#   [arXiv:1412.6980](https://arxiv.org/abs/1412.6980), sections 2 and 3.
# - Loshchilov and Hutter, *Decoupled Weight Decay Regularization* (2017),
#   [arXiv:1711.05101](https://arxiv.org/abs/1711.05101), and *SGDR* (2016),
#   [arXiv:1608.03983](https://arxiv.org/abs/1608.03983): AdamW, the cosine.
# - Pascanu et al., *On the difficulty of training recurrent neural
#   networks* (2012), [arXiv:1211.5063](https://arxiv.org/abs/1211.5063):
#   clipping.
# - Gabriel Goh, *Why Momentum Really Works* (Distill, 2017).
# - `tinyvit/training/step.py`, `schedule.py` and `optimizers.py`.
#
# Next: [training for real](07_training_for_real.ipynb).
