"""Read by every Airflow process of the embedded stack, from ``$AIRFLOW_HOME/config``.

The scheduler's LocalExecutor forks its workers: what the scheduler has imported, tasks need
not import again, which takes seconds for torch, one for the picture of a learning curve, and a
third for our own steps. Import only: no thread and no CUDA context may exist before the
fork. The other processes do without.
"""

import sys

if "scheduler" in sys.argv[1:2]:
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    import lift_core.evaluation.proof
    import lift_core.steps
    import lift_core.synthesis
    import lift_core.training  # noqa: F401

    # The first model that a process loads has the names of all models' weights compiled.
    get_checkpoint_conversion_mapping("llama")
