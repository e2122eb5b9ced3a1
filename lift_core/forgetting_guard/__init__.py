"""The forgetting guard: which adapters are due, what they lost, and what becomes of them."""

from lift_core.forgetting_guard.guard import UNMEASURABLE, ForgettingGuard

__all__ = ["UNMEASURABLE", "ForgettingGuard"]
