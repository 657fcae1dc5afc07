"""What the user's program prints: passed on to the pod's log at once, its last lines kept for a failure's sentence."""

from __future__ import annotations

import array
import fcntl
import os
import re
import select
import termios
import threading
from typing import Final

LAST_LINES: Final = 12
"""Lines of a program's output that a failure's sentence holds; the whole goes to the log."""
KEPT: Final = 64 * 1024
"""Bytes of the output that are remembered, however much there is."""
_CHUNK: Final = 64 * 1024
_COLOURS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Tee:
    """A pipe for the output of one program, and a thread that passes on what comes out of it.

    One pipe for both streams: so what is written to stdout and to stderr stays in the order in which it was written. A
    program that cannot print any more (the log is gone) is not held up by it.

    What the program started may outlive it and keep the pipe open, so its end is not waited for: ``last_lines`` takes
    what is in the pipe at that moment, and the thread goes on until nobody holds the other end.
    """

    def __init__(self, to: int = 1) -> None:
        """
        Args:
            to: file descriptor that everything is passed on to.
        """
        self._to = to
        self._reader, self.writer = os.pipe()
        """``writer`` is the program's stdout and stderr; close it here once the program has it."""
        os.set_blocking(self._reader, False)
        self._lock = threading.Lock()
        """Held from a read until what was read is passed on and kept."""
        self._kept = b""
        self._cut = False
        threading.Thread(target=self._pump, name="output", daemon=True).start()

    def last_lines(self) -> str:
        """The end of what the program printed, without colours, and of a line that was written anew (a progress bar)
        its last state. To be asked once the program has ended."""
        with self._lock:
            self._read(self._waiting())
            kept, cut = self._kept, self._cut
        lines = _COLOURS.sub("", kept.decode(errors="replace")).split("\n")
        if cut and any(lines[1:]):
            lines = lines[1:]  # the first one's beginning is gone
        shown = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines]
        return "\n".join([line for line in shown if line][-LAST_LINES:])

    def _pump(self) -> None:
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while True:
            poll.poll()
            with self._lock:
                if not self._read(_CHUNK):
                    os.close(self._reader)
                    self._reader = -1
                    return

    def _waiting(self) -> int:
        """Bytes in the pipe. What a program wrote before it ended is among them, and no more is to be waited for."""
        if self._reader < 0:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._reader, termios.FIONREAD, count)
        return count[0]

    def _read(self, most: int) -> bool:
        """Take so many bytes and pass them on; False once nobody can write any more."""
        while most > 0:
            try:
                chunk = os.read(self._reader, min(most, _CHUNK))
            except BlockingIOError:
                return True
            if not chunk:
                return False
            most -= len(chunk)
            self._cut |= len(self._kept) + len(chunk) > KEPT
            self._kept = (self._kept + chunk)[-KEPT:]
            self._pass_on(chunk)
        return True

    def _pass_on(self, chunk: bytes) -> None:
        try:
            while chunk:
                chunk = chunk[os.write(self._to, chunk) :]
        except OSError:
            pass  # nobody reads the log any more; the program goes on all the same
