"""Thin: runners differ only in where the same pipeline runs."""
