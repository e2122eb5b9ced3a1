"""A training's learning curve, as a picture: people look before they read."""

from __future__ import annotations

import io
from typing import Any

from lift_core.records import TrainingResult


def learning_curve(result: TrainingResult, title: str) -> bytes:
    """An SVG of the loss after each step, and on the held-out pairs after each epoch; in nats a token."""
    import matplotlib
    from matplotlib.figure import Figure

    # The same figures make the same file: no random ids, no date, text as text; a title is no formula.
    style: Any = {"svg.hashsalt": "learning-curve", "svg.fonttype": "none", "text.parse_math": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(6.0, 3.2))
        # Fixed margins: a layout that measures every text first took as long as the drawing.
        axes = figure.subplots(gridspec_kw={"left": 0.1, "right": 0.98, "bottom": 0.16, "top": 0.9})
        steps = range(1, len(result.losses) + 1)
        axes.plot(steps, result.losses, color="#6b7a90", linewidth=1, label="learned pairs, each step")
        if result.held_out_losses:
            # Epochs have equally many steps; the training may have ended before the last one.
            a_epoch = len(result.losses) / len(result.held_out_losses)
            ends = [round(a_epoch * number) for number in range(1, len(result.held_out_losses) + 1)]
            axes.plot(ends, result.held_out_losses, "o-", color="#b3451f", label="held-out pairs, each epoch")
            if result.epochs < len(result.held_out_losses):
                kept = ends[result.epochs - 1]
                axes.axvline(kept, color="#b3451f", linestyle=":", label=f"kept: epoch {result.epochs}")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        axes.set_ylabel("loss, nats a token")
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
        file = io.BytesIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=metadata)
    return file.getvalue()
