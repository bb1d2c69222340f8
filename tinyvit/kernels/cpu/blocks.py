"""The one speed trick that the row-wise kernels share."""

from collections.abc import Iterator

# Numbers a block holds: 2 MB in float32. A chain of element-wise steps over a block this large finds its operands in
# the cache, and what lies between the steps takes a block's memory and not the whole batch's: 27 instead of 43 MB for
# inference of a tiny model on 16 images of 224 x 224. On two cores of a Zen 5, whose caches are large, it buys no
# speed: a training step takes 2 % less time at 224/16 and 0 to 7 % more at 28/7. Much smaller blocks lose when several
# threads work: each NumPy call hands over Python's lock.
BLOCK_NUMBERS = 512 * 1024


def row_blocks(rows: int, numbers_a_row: int) -> Iterator[slice]:
    """Slices that cut ``rows`` rows of ``numbers_a_row`` numbers into equal blocks that stay in the cache."""
    blocks = max(1, -(-rows * numbers_a_row // BLOCK_NUMBERS))
    size = max(1, -(-rows // blocks))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
