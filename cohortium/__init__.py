"""Analyse many cohorts as if they were one, while every participant's record stays where it is."""

__version__ = "0.1.0"
