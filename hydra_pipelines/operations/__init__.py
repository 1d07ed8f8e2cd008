"""Keeping a desk running: supervision, clean-up, backup, integrity. No step of the day.

What runs as which process is said in `stack`, how processes are kept alive in `supervisor`.
"""
