"""What the tests of the commands on published weights share: a small model's random weights under timm's names."""

from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

WIDTH, PATCH, GRID, CLASSES = 192, 8, 4, 1000


def timm_file(path: Path, classes: int = CLASSES) -> Path:
    """A ViT for 32 px of depth 2 and the width of tiny, as timm writes it."""
    random = np.random.default_rng(0)
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + GRID**2, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    for block in ("blocks.0", "blocks.1"):
        shapes |= {f"{block}.{norm}.{name}": (WIDTH,) for norm in ("norm1", "norm2") for name in ("weight", "bias")}
        for layer, out, into in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 2, 1), ("mlp.fc2", 1, 2)):
            shapes[f"{block}.{layer}.weight"] = (out * WIDTH, into * WIDTH)
            shapes[f"{block}.{layer}.bias"] = (out * WIDTH,)
    if classes:
        shapes |= {"head.weight": (classes, WIDTH), "head.bias": (classes,)}
    save_file({name: random.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}, path)
    return path


def photographs(folder: Path) -> list[Path]:
    """Three pictures that are not square, one of them in a folder below."""
    (folder / "more").mkdir(parents=True)
    random = np.random.default_rng(1)
    files = [folder / "a.png", folder / "b.JPG", folder / "more" / "c.webp"]
    for file in files:
        Image.fromarray(random.integers(0, 256, (50, 70, 3), dtype=np.uint8)).resize((140, 100)).save(file)
    return files
