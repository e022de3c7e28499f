"""The loss of UltraGCN: the graph weights of pairs, and what is minimised."""
