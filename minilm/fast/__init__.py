"""Holds the same mathematics as the readable files, quicker; tests keep each file equal to the one it stands for."""
