"""Neighbouring methods: LAPE, large-magnitude features, pruning."""
