"""Training: how far it came, what is best so far, and what is kept."""
