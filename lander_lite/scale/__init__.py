"""Larger models: plans of memory and compute, Baichuan2, launch files."""
