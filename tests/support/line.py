"""A TCP line to a server on this machine that can be cut and mended, so that an outage lasts as long as a test says and
not as long as a server takes to start."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Line:
    """Listens on a port of its own and hands every connection on. ``cut`` resets what there is and refuses what comes.

    Attributes:
        port: where to connect to, on 127.0.0.1.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] | None = set()
        """Both ends of each connection; None while the line is cut."""
        self._lock = threading.Lock()
        self._begin()

    def reached_by(self, kubeconfig: str, url: str) -> str:
        """A kubeconfig for the server at ``url``, by this line."""
        return kubeconfig.replace(url, f"https://127.0.0.1:{self.port}")

    def cut(self) -> None:
        """From now on nobody gets through."""
        # A thread that waits in accept keeps a closed socket listening: it must be woken.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()
        with self._lock:
            ends, self._open = self._open or (), None
            for end in ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """As before, on the same port."""
        self._open = set()
        self._listener = self._listen(self.port)
        self._begin()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port))

    def _begin(self) -> None:
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), name="line", daemon=True)
        self._accepting.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                near, _ = listener.accept()
                threading.Thread(target=self._hand_on, args=(near,), name="line-connection", daemon=True).start()

    def _hand_on(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near, socket.create_connection(("127.0.0.1", self._target)) as far:
            ends = {near: far, far: near}
            with self._lock:
                if self._open is None:
                    return
                self._open.update(ends)
            try:
                with selectors.DefaultSelector() as ready:
                    for end in ends:
                        ready.register(end, selectors.EVENT_READ)
                    while True:
                        for key, _ in ready.select():
                            assert isinstance(key.fileobj, socket.socket)
                            if not (data := key.fileobj.recv(1 << 16)):
                                return
                            ends[key.fileobj].sendall(data)
            finally:
                with self._lock:
                    if self._open is not None:
                        self._open.difference_update(ends)


@contextmanager
def line(target: int) -> Iterator[Line]:
    """A line for the length of the block."""
    made = Line(target)
    try:
        yield made
    finally:
        made.cut()
