"""LIFT: turn a document into a LoRA adapter that answers from the query alone.

Method: Long Input Fine-Tuning, arXiv 2502.14644.
"""

__version__ = "0.1.0"
