"""Launches kernels that work by columns, with a matrix shared out over their blocks: see columns.cuh."""

from tinyvit.device import array_module
from tinyvit.kernels.gpu.launch import launch, storage
from tinyvit.kernels.gpu.vectors import vector_length, vectors

WARPS = 8  # as in columns.cuh
FEWEST_ROWS = 4 * WARPS  # of a block, so that a thread uses what it knows of its columns several times
MOST_BLOCKS_DOWN = 65535  # CUDA's limit

# Each block down leaves a row of partial sums, so there should be few; but a GPU needs several blocks on each of its
# multiprocessors to have enough reads under way. These are four (two where a row is so short that its columns all fit
# one block) for each of the 132 multiprocessors of an H100: whole numbers, so that all end together.
MOST_BLOCKS_WITH_SUMS = 4 * 132
MOST_BLOCKS_DOWN_WITH_SUMS = 2 * 132


def launch_by_columns(file: str, kernel: str, matrices: tuple, *others, **constants: int) -> None:
    """Run a kernel with the parameters (*matrices, *others, rows, width, rows_a_block).

    Args:
        file, kernel, constants: as of ``launch``.
        matrices: arrays (rows, width) of one type, read and written by vectors; None for a null pointer.
        others: the arguments that follow them.

    Raises:
        TypeError: as ``launch`` and ``storage``.
    """
    given = [matrix for matrix in matrices if matrix is not None]
    across, rows = _blocks_across(*given), given[0].shape[0]
    _launch(file, kernel, matrices, others, (across, _blocks_down(rows, MOST_BLOCKS_DOWN)), constants)


def partial_sums_by_columns(file: str, kernel: str, *matrices):
    """Run a kernel with the parameters (*matrices, partials, rows, width, rows_a_block).

    How the rows are shared out depends on the matrices only and not on the GPU: sums are added in one order everywhere.

    Returns:
        partials, float32 (blocks, width): what each block of rows summed; the kernel calls ``write_partial_sums``.

    Raises:
        TypeError: as ``launch`` and ``storage``.
    """
    xp, (rows, width) = array_module(matrices[0]), matrices[0].shape
    across = _blocks_across(*matrices)
    most = max(1, min(MOST_BLOCKS_WITH_SUMS // across, MOST_BLOCKS_DOWN_WITH_SUMS))
    down = _blocks_down(rows, most)
    partials = xp.empty((down, width), xp.float32)
    _launch(file, kernel, matrices, (partials,), (across, down), {})
    return partials


def _launch(file: str, kernel: str, matrices: tuple, others: tuple, grid: tuple[int, int], constants: dict) -> None:
    given = [matrix for matrix in matrices if matrix is not None]
    rows, width = given[0].shape
    arguments = (*matrices, *others, rows, width, -(-rows // grid[1]))
    launch(file, kernel, grid, (32, WARPS), arguments, **storage(given[0]), **vectors(*given), **constants)


def _blocks_across(*matrices) -> int:
    return -(-matrices[0].shape[1] // (32 * vector_length(*matrices)))


def _blocks_down(rows: int, most: int) -> int:
    return max(1, min(-(-rows // FEWEST_ROWS), most))
