"""One trial from configuration to record, and the sweep that runs many."""
