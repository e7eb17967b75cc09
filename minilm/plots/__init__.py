"""Draws pictures and builds pages from records."""
