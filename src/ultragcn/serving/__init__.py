"""What leaves a trained model: exports for other programs, and answers over HTTP."""
