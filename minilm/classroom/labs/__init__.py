"""The labs, one folder each; `minilm/classroom/lab.py` says what is in it. Wheels leave this package out."""
