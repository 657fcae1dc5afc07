"""SIGTERM: store what can be stored, then stop, even while the training code is deep inside a long call.

A Python signal handler runs only between two bytecodes of the main thread, which a long torch call can hold for
minutes, more than a pod's grace period. So the signal wakes a thread through a pipe (``signal.set_wakeup_fd``: written
by C, at once), and that thread does the work and ends the process. Raising an exception in the main thread instead was
rejected: the training code may catch it.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

log = logging.getLogger(__name__)


def on_sigterm(stop: Callable[[], int], leave: Callable[[int], None] = os._exit) -> None:
    """Call ``stop`` in a thread of its own at the first SIGTERM, then leave with the status it returns.

    To be called once, in the main thread. Child processes made by ``fork`` get the default behaviour back, or a
    DataLoader's worker that is told to end would end the whole training.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    assert wakeup_before == -1, "somebody else waits for signals already"
    signal.signal(signal.SIGTERM, _do_nothing)
    os.register_at_fork(after_in_child=_forget)

    def wait() -> None:
        while (number := os.read(reader, 1)) and number[0] != signal.SIGTERM:
            pass
        log.warning("told to stop (SIGTERM)")
        leave(stop())

    threading.Thread(target=wait, name="sigterm", daemon=True).start()


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """The pipe has the signal already; without a handler Python would let the signal end the process."""


def _forget() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
