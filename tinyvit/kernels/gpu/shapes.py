"""Shapes, checked before a launch: a kernel sees addresses only, and would read what lies beyond a smaller array."""


def expect_shape(shape: tuple[int, ...], **arrays) -> None:
    """Prove that every array (None is none) has the shape that its kernel will read.

    Raises:
        ValueError: one has another.
    """
    for name, array in arrays.items():
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
