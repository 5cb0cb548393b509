"""Implementations of the ports in ``domain/ports.py`` that need no layer of their own."""
