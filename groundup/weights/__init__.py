"""Checkpoints, and the formats that other programs read and write."""
