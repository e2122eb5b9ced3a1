"""What the machine that trains can do, and how much of its memory was used."""

from __future__ import annotations

import resource

import torch

_PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
}
"""Dense bf16 operations a second by the maker's data sheets; the first name that fits counts."""


def peak_flops() -> float | None:
    """The card's peak in bf16, operations a second; None on the CPU and for cards that are not known."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in _PEAKS.items() if part in name), None)


def peak_memory() -> int:
    """The most memory that was in use, in bytes: the card's, or on the CPU the whole process's."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
