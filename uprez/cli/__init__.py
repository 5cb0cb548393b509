"""The commands of ``uprez``."""
