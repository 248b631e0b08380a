"""Integers to bytes and back; no JAX in this room."""
