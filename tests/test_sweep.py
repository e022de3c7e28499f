"""Sweeps: studies that survive anything, are shared by processes, and give what each trial gives on its own."""
