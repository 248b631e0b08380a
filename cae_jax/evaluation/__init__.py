"""Baselines from real files, per-image records, tables and figures."""
