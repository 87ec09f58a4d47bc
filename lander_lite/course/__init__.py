"""The lessons' exercises, explorers, pictures, report and runner."""
