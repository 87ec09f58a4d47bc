"""LANDeRMT as a PEFT method: config, layer, model."""
