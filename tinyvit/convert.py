"""python -m tinyvit.convert: weights under the names that tinyvit, timm or Hugging Face know them by."""

from pathlib import Path

from tinyvit import checkpoints, commands
from tinyvit.errors import InputError
from tinyvit.models.published import FORMS, save_pretrained

DESCRIPTION = """\
Write a model for tinyvit, for timm or for Hugging Face's transformers to load. OUT is a file that ends in .safetensors,
or else a folder, which also gets the config.json that timm and transformers read; transformers needs the folder."""


def main() -> None:
    parser = commands.Parser(prog="python -m tinyvit.convert", description=DESCRIPTION)
    parser.add_argument("checkpoint", type=Path, metavar="IN", help=checkpoints.HELP)
    parser.add_argument("out", type=Path, metavar="OUT", help="a new .safetensors file, or a new folder")
    parser.add_argument("--to", metavar="NAME", default=FORMS[0], help="tinyvit, timm or huggingface (default tinyvit)")
    given = parser.parse_args()
    check_new(given.out)
    opened = checkpoints.open_model(given.checkpoint)
    notes = save_pretrained(opened.model, given.out, given.to, opened.known_names)
    print(f"{opened.model.num_parameters:,} parameters for {given.to}: {given.out}")
    for note in notes:
        print(f"note: {note}")


def check_new(out: Path) -> None:
    """Refuse a path that holds something, or whose name promises what is not written.

    Raises:
        InputError: such a path.
    """
    if out.suffix in (".npz", ".bin", ".pt", ".pth"):
        raise InputError(f"{out} is no name for what is written: end it in .safetensors, or give a folder")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} holds something already: choose another name")


if __name__ == "__main__":
    commands.run(main)
