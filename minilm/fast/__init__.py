"""Holds the same mathematics as the rest of the package, written to be quick instead of to be read.

Each file says which plain version it repeats. Nothing here runs before it has agreed with that version in the same
process, on the very functions or weights at hand; where it does not agree, the plain version runs and a line says so.
"""
