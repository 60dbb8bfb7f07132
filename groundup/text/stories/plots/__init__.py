"""Plots, by theme: each is a function that tells one story to the end."""
