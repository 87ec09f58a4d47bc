"""Processes side by side for the runs of a study; they end with the one that started them, however
that ends.

A process starts here before it imports what a run needs, which takes seconds: so it ends at once,
and without a word, in these seconds too.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool


@contextlib.contextmanager
def workers(lab, jobs: int):
    """A function tasks -> iterator of (spec, result), as they finish. One job runs in this
    process. ChildProcessError where one of several dies."""
    if jobs == 1:
        from .runs import run

        yield lambda tasks: ((task[0], run(lab, *task)) for task in tasks)
        return
    # Python's helper process warns when this one is killed: of locks, which go with it anyway
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    alive, held = multiprocessing.Pipe(duplex=False)  # the system closes `held` for a dead process
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), _start, (alive, lab.config, lab.folder, threads)
    )
    try:
        yield lambda tasks: _perform_all(pool, tasks)
    except KeyboardInterrupt:  # runs have checkpoints
        held.close()
        raise
    finally:  # an error in one run does not start the others
        pool.shutdown(cancel_futures=True)
        held.close()


def _perform_all(pool: ProcessPoolExecutor, tasks):
    futures = {pool.submit(_work, *task): task[0] for task in tasks}
    try:
        for done in as_completed(futures):
            yield futures[done], done.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a process of the study ended in the middle of a run: out of memory, or killed; "
            "finished runs are kept, and the same command goes on (fewer --jobs need less)"
        ) from error
    finally:
        for future in futures:
            future.cancel()


# ---------------------------------------------------------------- in such a process
def _start(alive, config, folder, threads):
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C too
    import torch
    from tqdm.auto import tqdm

    from .lab import Lab

    tqdm.set_lock(threading.RLock())  # its own counts as leaked where a process ends like that
    torch.set_num_threads(threads)
    global _lab
    _lab = Lab(config, folder)


def _end_with_parent(alive):
    with contextlib.suppress(EOFError, OSError):
        alive.recv()  # nothing is ever sent: it ends when the other end is closed
    os._exit(1)


def _work(*task):
    from .runs import run

    return run(_lab, *task)
