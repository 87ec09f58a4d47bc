"""The lessons' exercises and solved copies, explorers, pictures, tables, report and runner."""
