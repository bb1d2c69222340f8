"""Makes the names of ImageNet's classes: ``python -m tinyvit.data.make_imagenet_names WORDNET IDS1000 IDS21843``.

ImageNet's classes are nouns of WordNet 3.0: a class's id, such as n01440764, says at which byte of WordNet's file
data.noun its entry stands. timm has the ids in the order of the models' outputs, in ``timm/data/_info``:
``imagenet_synsets.txt`` and ``imagenet21k_goog_synsets.txt``.
"""

import argparse
import gzip
from collections import Counter
from pathlib import Path

from tinyvit.data.imagenet import FILES

# What WordNet calls the file that an entry was written in, by its number ("Tops" is here "general").
KINDS = (
    "general act animal artifact attribute body cognition communication event feeling food group location motive "
    "object person phenomenon plant possession process quantity relation shape state substance time"
).split()
FIRST_KIND = 3  # the files of adjectives and adverbs come before those of nouns


def entry(data: bytes, synset: str) -> tuple[list[str], str]:
    """The synonyms of a noun, the most usual first, and its kind."""
    start = int(synset.removeprefix("n"))
    fields = data[start : data.index(b"\n", start)].decode().split()
    if fields[0] != synset.removeprefix("n"):
        raise SystemExit(f"no noun {synset} here: give the data.noun of WordNet 3.0")
    count = int(fields[3], 16)
    return [word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]], KINDS[int(fields[1]) - FIRST_KIND]


def names(data: bytes, synsets: list[str]) -> list[str]:
    """The first synonym of each; where several classes would be called the same, with the second one or the kind."""
    entries = [entry(data, synset) for synset in synsets]
    same = Counter(synonyms[0] for synonyms, _ in entries)
    return [
        synonyms[0] if same[synonyms[0]] == 1 else f"{synonyms[0]} ({[*synonyms, kind][1]})"
        for synonyms, kind in entries
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the names of ImageNet's classes from WordNet 3.0.")
    parser.add_argument("wordnet", type=Path, metavar="WORDNET", help="its file data.noun")
    for count in FILES:
        parser.add_argument(f"ids{count}", type=Path, metavar=f"IDS{count}", help=f"the ids of the {count:,} classes")
    given = parser.parse_args()
    data = given.wordnet.read_bytes()
    for count, path in FILES.items():
        synsets = getattr(given, f"ids{count}").read_text().split()
        text = "".join(f"{name}\n" for name in names(data, synsets))
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
        print(f"{path}: {len(synsets):,} names, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
