"""Turns texts into tokens, and measures them without a network."""
