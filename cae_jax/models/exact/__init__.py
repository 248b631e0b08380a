"""Networks between bits and coding tables, evaluated exactly: the same bits on every machine."""
