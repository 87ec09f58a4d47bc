"""Measurements behind the claims that need no training."""
