"""The structures of cpp/launch.h, through which Python and the library talk."""

import ctypes

Index = ctypes.c_uint * 3

GLOBAL, STATIC_SHARED, DYNAMIC_SHARED = range(3)
READS, WRITES, UPDATES, WAITS = range(4)


class Array(ctypes.Structure):
    """A piece of memory that a kernel may use: an argument, or a shared array."""

    _fields_ = (
        ("start", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("item_size", ctypes.c_uint),
        ("memory", ctypes.c_uint),
        ("constant", ctypes.c_uint),
    )


class Event(ctypes.Structure):
    """One step of a traced block."""

    _fields_ = (
        ("thread", Index),
        ("what", ctypes.c_uint),
        ("operation", ctypes.c_char_p),
        ("file", ctypes.c_char_p),
        ("line", ctypes.c_int),
        ("code", ctypes.c_uint),
        ("array", ctypes.c_int),
        ("offset", ctypes.c_size_t),
        ("size", ctypes.c_size_t),
        ("value", ctypes.c_ubyte * 16),
    )


class Launch(ctypes.Structure):
    """A launch, and what came of it."""

    _fields_ = (
        ("grid", Index),
        ("block", Index),
        ("dynamic_shared_size", ctypes.c_size_t),
        ("dynamic_shared", ctypes.c_void_p),
        ("order", ctypes.c_int),
        ("array_count", ctypes.c_int),
        ("arrays", ctypes.POINTER(Array)),
        ("traced", Index),
        ("event_limit", ctypes.c_int),
        ("event_count", ctypes.c_int),
        ("events", ctypes.POINTER(Event)),
        ("message", ctypes.c_char * 2000),
    )
