"""Looks inside a trained model."""
