"""The converter's own process: ``python -m lift_core.documents.convert``, started by ``converting.py``."""
