"""Bad options: one line that says what was given and what to do, exit status 2, no traceback.

The lines are matched loosely: a test pins down what the user must learn, not the wording.
"""

import re

import on_device
import pytest
from small_runs import OPTIONS, command, process, refused


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--size tinny", r"unknown size 'tinny': did you mean 'tiny'\? known are nano, tiny, small, base"),
        ("--size 7", r"unknown size '7': known are nano, tiny"),
        ("--data fashion-min", r"unknown data set 'fashion-min': did you mean 'fashion-mini'\?"),
        ("--data cifar1", r"unknown data set 'cifar1': did you mean 'cifar10"),
        ("--data imagenet", r"unknown data set 'imagenet': .*known are fashion-mini"),
        ("--patch-size 5", r"patch size 5 does not divide image size 28: choose one of 1, 2, 4, 7, 14, 28"),
        ("--patch-size 56", r"patch size 56 does not divide image size 28"),
        ("--heads 3", r"3 heads do not divide width 16: choose one of 1, 2, 4, 8, 16"),
        ("--width 18 --position-embedding sinusoidal", r"width 18 .*sinusoidal"),
        ("--pool max", r"unknown pool 'max': .*class_token, mean"),
        ("--gelu fast", r"unknown gelu 'fast'"),
        ("--position-embedding 2d", r"unknown position embedding '2d'"),
        ("--optimizer adam", r"unknown optimizer 'adam': did you mean 'adamw'\?"),
        ("--schedule cosin", r"unknown schedule 'cosin': did you mean 'cosine'\?"),
        ("--loss l2", r"unknown loss 'l2'"),
        ("--device tpu", r"unknown device 'tpu': .*auto, cpu, gpu"),
        ("--batch-size 301", r"batch size 301 is more than the 300 images .*300 or less"),
        ("--batch-size 50 --accumulate 51", r"accumulate 51 is more than the 50 images"),
        ("--data folder:/no/such/place", r"/no/such/place is not a folder"),
        ("--data fashion-mini --data-dir /tmp", r"leave out the data folder"),
        ("--data cifar10 --data-dir /no/such/place", r"/no/such/place"),
        ("--data fashion-mnist --data-dir /no/such/place", r"/no/such/place"),
        ("--random-resized-crop 0.5 0.2", r"random resized crop is 0.5 to 0.2"),
        ("--rand-augment 1.5 5", r"1.5 operations"),
        ("--rand-augment inf 5", r"inf operations"),
        ("--rand-augment 2 11", r"magnitude 11"),
        ("--epochs many", r"--epochs.*'many'.*--help"),
        ("--epoch-s 3", r"unrecognized arguments: --epoch-s.*--help"),
        ("--lr", r"--lr.*expected one argument"),
        ("picture.png", r"unrecognized arguments: picture.png"),
    ],
)
def test_an_option_that_cannot_be(home, options, expected):
    refused(expected, "train", *OPTIONS, *options.split())


WHOLE_NUMBERS_FROM_1 = (
    "--limit-train --limit-test --image-size --patch-size --width --depth --heads --mlp-width --epochs --batch-size "
    "--accumulate --workers"
).split()
FROM_0 = (
    "--representation --weight-decay --warmup-epochs --clip --label-smoothing --ema --seed --shift --erasing --mixup "
    "--cutmix --dropout --stochastic-depth --beta2 --embedding-std"
).split()


@pytest.mark.parametrize(
    "option, value",
    [(option, value) for option in WHOLE_NUMBERS_FROM_1 for value in ("0", "-3")]
    + [(option, "-1") for option in FROM_0]
    + [("--lr", value) for value in ("0", "-0.1", "nan", "inf")]
    + [(option, "nan") for option in ("--weight-decay", "--clip", "--mixup", "--dropout", "--ema")]
    + [(option, "inf") for option in ("--warmup-epochs", "--weight-decay", "--cutmix")]
    + [(option, "1") for option in ("--label-smoothing", "--ema", "--dropout", "--stochastic-depth")]
    + [("--erasing", "1.5")],
)
def test_a_number_out_of_range(home, option, value):
    message = command("train", *OPTIONS, option, value).message
    assert re.search(rf"(?<![\d.]){re.escape(value.rstrip('0').rstrip('.') or '0')}", message), message
    words = option.strip("-").replace("lr", "learning rate").replace("-", "[ _]").replace("limit[ _]", "limit|")
    assert re.search(words, message), message


@pytest.mark.parametrize(
    "name, options, expected",
    [
        ("evaluate", "RUN --workers 0", r"0 workers"),
        ("predict", "RUN --top 0", r"--top is 0"),
        ("summary", "--size larg", r"unknown size 'larg': did you mean 'large'"),
        ("summary", "--patch-size 15", r"patch size 15 does not divide image size 224"),
        ("summary", "--channels 0", r"channels is 0"),
        ("summary", "--classes -1", r"classes is -1"),
        ("summary", "--batch-size -4", r"batch-size is -4"),
        ("evaluate", "RUN --device qpu", r"unknown device 'qpu'"),
        ("predict", "RUN --device qpu", r"unknown device 'qpu'"),
        ("evaluate", "", r"required: RUN"),
    ],
)
def test_the_other_commands(finished, name, options, expected):
    refused(expected, name, *(finished if word == "RUN" else word for word in options.split()))


@pytest.mark.parametrize("name", ["train", "evaluate", "predict"])
def test_a_gpu_where_none_can_be_used(finished, name):
    if not isinstance(on_device.usable_gpu(), str):
        pytest.skip("this machine has a GPU")
    refused(r"device 'gpu': .", name, *(OPTIONS if name == "train" else [finished]), "--device", "gpu")


def test_a_model_too_large_for_the_memory(home):
    # 4 exabytes, which no machine has.
    ended = command("train", *OPTIONS, "--width", str(10**9), "--out", home.parent / "run")
    assert "memory" in ended.message


@pytest.mark.parametrize(
    "name, options", [("train", ["--size", "tinny"]), ("evaluate", ["nowhere"]), ("predict", ["nowhere"])]
)
def test_the_real_process_prints_one_line_too(tmp_path, name, options):
    assert process(name, *options, folder=tmp_path).message
    assert not list(tmp_path.iterdir())
