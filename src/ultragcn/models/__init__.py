"""Models: UltraGCN, the baselines, the verbs that they share, their files, and their names."""
