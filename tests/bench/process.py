"""Memory of this process, for the benches."""

from collections.abc import Callable
from pathlib import Path


def status(key: str) -> int:
    """Bytes: VmRSS, what is held now, or VmHWM, the most so far."""
    return int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0]) * 1024


def peak_over(before: int, action: Callable, times: int = 1) -> int:
    """Bytes over `before` at the peak of an action done so often."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    for _ in range(times):
        action()
    return status("VmHWM") - before
