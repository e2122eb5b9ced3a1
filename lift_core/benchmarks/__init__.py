"""Benchmarks: figures about speed come from here, never from a test."""

from lift_core.benchmarks.report import Report, write_report

__all__ = ["Report", "write_report"]
