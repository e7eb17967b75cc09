"""Measures speed and quality; RESULTS.md holds the figures. Nothing here is installed with the package."""
