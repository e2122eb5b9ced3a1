"""The statistics of the forgetting guard: paired differences, verdicts, looks, families and samples.

Pure functions, seeded where they draw. What they mean and where they come from is in
``docs/forgetting-statistics.md``. scipy is imported when a figure is computed, not before.
"""
