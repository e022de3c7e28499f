"""One linear layer with softmax."""

import torch


class MyModel(torch.nn.Module):
    """Class probabilities from the pixels of an image: `softmax(W x + b)`."""

    def __init__(self, num_pixels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(num_pixels, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the class probabilities, (B, num_classes), of images of any shape (B, ...).

        The logarithm, because softmax and logarithm in one step do not underflow.
        """
        return torch.log_softmax(self.linear(images.flatten(start_dim=1)), dim=1)
