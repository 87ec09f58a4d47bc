"""The training loop: checkpoints, the KL term to the base model, several processes."""
