"""Implementations of the ports in ``domain/ports.py`` that belong to no other layer."""
