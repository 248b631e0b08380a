"""Lossless and near-lossless codecs: measured over data sets of any depth, tabulated and drawn."""
