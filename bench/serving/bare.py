"""``InferenceSession.run`` in a loop, with nothing around it: what the cores can do at most.

``python -m bench.serving.bare MODEL THREADS SECONDS`` prints runs a second of one row, by so many threads that share a
session, each run on one core; and the processor seconds of one run.
"""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import onnxruntime as ort


def main(model: str, threads: int, seconds: float) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    shape = [d if isinstance(d, int) else 1 for d in session.get_inputs()[0].shape]
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    feed = {session.get_inputs()[0].name: x}
    for _ in range(3):
        session.run(None, feed)
    counts = [0] * threads
    end = time.perf_counter() + seconds

    def work(index: int) -> None:
        while time.perf_counter() < end:
            session.run(None, feed)
            counts[index] += 1

    begun, used = time.perf_counter(), time.process_time()
    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    runs = sum(counts)
    print(runs / (time.perf_counter() - begun), (time.process_time() - used) / runs)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
