"""What a tuned or untuned model does: switching neurons, gates, tokens, weight change, facts."""
