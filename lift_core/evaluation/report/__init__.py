"""The guard's report: what was found about an adapter, or in a whole run, as HTML and Markdown with plots.

A page is made once, of ``blocks``; ``html_page`` and ``markdown_page`` write the same blocks down, so both
say the same words. Equal records make equal bytes.
"""

from lift_core.evaluation.report.adapter import render
from lift_core.evaluation.report.run import render_run

__all__ = ["render", "render_run"]
