"""Whole data sets into shards of .cae files and back, in parts that any number of machines take."""
