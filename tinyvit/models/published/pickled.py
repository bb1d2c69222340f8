"""Pickles, which are refused: opening one can run any code."""

import shlex
from pathlib import Path

from tinyvit.errors import InputError


def pickled(path: Path) -> InputError:
    """The error for a pickle, with the command that makes a safetensors file of one.

    The command lets PyTorch open it in the mode that runs no code, and takes the weights from below "model" or
    "state_dict", where some training scripts put them.
    """
    target = path.with_suffix(".safetensors")
    script = (
        "import sys, torch; from safetensors.torch import save_file; "
        "w = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
        "w = w.get('model', w.get('state_dict', w)); "
        "save_file({k: v.clone().contiguous() for k, v in w.items() if hasattr(v, 'shape')}, sys.argv[2])"
    )
    return InputError(
        f"{path} is a pickle, which can run any code when opened, and is not read: make a safetensors file of it "
        f'with python -c "{script}" {shlex.quote(str(path))} {shlex.quote(str(target))}'
    )
