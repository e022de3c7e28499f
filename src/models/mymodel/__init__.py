"""One linear layer with softmax: the smallest model that shows how a model folder works."""
