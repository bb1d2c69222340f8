"""Work in a process of its own, so that neither memory, nor threads, nor the settings of malloc are shared."""

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from tinyvit.errors import InputError

_made = None  # in the other process: what `make` gave


class OwnProcess:
    """An object that lives in another process: ``make(*arguments)`` is called there, and so are its methods.

    Use it in a ``with`` block. Between calls the process waits and takes no time of any core.
    """

    def __init__(self, make: Callable, *arguments):
        # "spawn" starts from nothing; a fork would share what this process has imported and allocated.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_leave_interrupts_to_the_parent)
        try:
            self._run(_make, make, arguments)
        except BaseException:
            self.__exit__()
            raise

    def call(self, method: str, *arguments):
        """The result of that method, called there.

        Raises:
            InputError: the process was killed, as the system does when memory runs out.
            Exception: whatever the method raised.
        """
        return self._run(_call, method, arguments)

    def __enter__(self) -> "OwnProcess":
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _run(self, function: Callable, *arguments):
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise InputError(
                "a measuring process was killed, probably for lack of memory: try a smaller batch or model"
            ) from error


def in_own_process(function: Callable, *arguments):
    """``function(*arguments)``, computed in a process that ends with it."""
    with OwnProcess(_Later, function) as other:
        return other.call("run", *arguments)


class _Later:
    def __init__(self, function: Callable):
        self.run = function


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _make(make: Callable, arguments: tuple) -> None:
    global _made
    _made = make(*arguments)


def _call(method: str, arguments: tuple):
    return getattr(_made, method)(*arguments)
