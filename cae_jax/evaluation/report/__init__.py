"""The interactive report: one HTML file that needs no network."""

from cae_jax.evaluation.report.document import json_in_html, page, plotly_js, write

__all__ = ["json_in_html", "page", "plotly_js", "write"]
