"""Reads and writes models of other libraries."""
