"""How kernels that work by columns share a matrix out over blocks: see columns.cuh."""

WARPS = 8  # as in columns.cuh
BLOCK = (32, WARPS)
# Enough blocks to fill a GPU of 132 multiprocessors with eight each. Not more, since each leaves its partial sums.
MOST_BLOCKS = 1024
MOST_ROW_BLOCKS = 256
FEWEST_ROWS = 4 * WARPS  # of a block, so that a thread reads several numbers for each that it writes


def column_grid(rows: int, width: int, vector: int) -> tuple[tuple[int, int], int]:
    """The grid (blocks of columns, blocks of rows) for a matrix (rows, width), and how many rows a block takes.

    It depends on the shape only and not on the GPU, so that sums are added in the same order everywhere.
    """
    across = -(-width // (32 * vector))
    down = max(1, min(-(-rows // FEWEST_ROWS), MOST_BLOCKS // across, MOST_ROW_BLOCKS))
    rows_a_block = max(1, -(-rows // down))
    return (across, max(1, -(-rows // rows_a_block))), rows_a_block
