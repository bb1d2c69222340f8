"""A training run that sends itself a signal: python signal_at.py SIGNAL MOMENT options of tinyvit.train...

MOMENT is a number, counting all moments from 1, or one by name: step:9 is the end of the ninth step, half:checkpoint:2
is when half of the second checkpoint is written, whole:checkpoint:2 when all of it is written under its temporary
name, renamed:checkpoint:2 when it has its own. The run is the real one; what is changed here only counts.
"""

import collections
import os
import signal
import sys
from pathlib import Path

from tinyvit import commands, train
from tinyvit.training.step import TrainStep

number, wanted = getattr(signal, sys.argv[1]), sys.argv[2]
seen = collections.Counter()


def moment(name: str) -> None:
    seen[name] += 1
    if wanted in (str(seen.total()), f"{name}:{seen[name]}"):
        os.kill(os.getpid(), number)


def counting_step(self, *arguments):
    result = step(self, *arguments)
    moment("step")
    return result


def counting_write(path, content):
    if ".safetensors" not in path.name:
        return write(path, content)
    name = path.name.strip(".").partition(".")[0]
    write(path, content[: len(content) // 2])
    moment(f"half:{name}")
    written = write(path, content)
    moment(f"whole:{name}")
    return written


def counting_replace(source, target):
    replace(source, target)
    moment(f"renamed:{Path(target).stem}")


step, TrainStep.__call__ = TrainStep.__call__, counting_step
write, Path.write_bytes = Path.write_bytes, counting_write
replace, os.replace = os.replace, counting_replace

sys.argv[1:] = sys.argv[3:]
commands.run(train.main)
