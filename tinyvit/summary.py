"""python -m tinyvit.summary: layers, parameters, multiply-adds and memory of a model, without making it."""

from tinyvit import commands
from tinyvit.errors import InputError
from tinyvit.models import ViTConfig, cost


def main() -> None:
    parser = commands.Parser(
        prog="python -m tinyvit.summary", description="Show what a model costs, without allocating it."
    )
    parser.add_argument(
        "--size", metavar="NAME", default="base", help="nano, tiny, small, base, large or huge (default base)"
    )
    parser.add_argument("--image-size", type=int, metavar="N", default=224, help="pixels (default 224)")
    parser.add_argument("--patch-size", type=int, metavar="N", default=16, help="pixels (default 16)")
    parser.add_argument("--channels", type=int, metavar="N", default=3, help="3 for colour, 1 for grey (default 3)")
    parser.add_argument("--classes", type=int, metavar="N", default=1000, help="outputs of the head (default 1000)")
    parser.add_argument(
        "--pool", metavar="NAME", default="class_token", help="class_token or mean (default class_token)"
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="N", default=128, help="for the memory of training (default 128)"
    )
    given = parser.parse_args()
    if given.batch_size < 1:
        raise InputError(f"--batch-size is {given.batch_size}: give at least 1")
    fields = ("image_size", "patch_size", "channels", "classes", "pool")
    config = ViTConfig.named(given.size, **{field: getattr(given, field) for field in fields})
    price = cost(config)

    print(
        f"ViT {given.size}/{config.patch_size} at {config.image_size} px: width {config.width}, depth {config.depth}, "
        f"{config.heads} heads, MLP {config.mlp_width}, {config.tokens} tokens\n"
    )
    print(f"{'layer':24} {'output':>12} {'parameters':>14} {'multiply-adds':>17}")
    for layer in price.layers:
        shape = " x ".join(map(str, layer.output))
        print(f"{layer.name:24} {shape:>12} {layer.parameters:>14,} {layer.multiply_adds:>17,}")
    print(f"{'in all':24} {'':12} {price.parameters:>14,} {price.multiply_adds:>17,}\n")
    print("multiply-adds are those of the matrix products, forward, one image; training takes three times as many")
    print(
        f"memory in float32: {gigabytes(4 * price.parameters)} for the weights, "
        f"{gigabytes(price.training_bytes(given.batch_size))} to train with AdamW and batches of {given.batch_size} "
        f"({gigabytes(4 * price.activations)} an image)"
    )


def gigabytes(count: int) -> str:
    """Bytes as a readable number."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


if __name__ == "__main__":
    commands.run(main)
