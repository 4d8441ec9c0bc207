"""The parts of the sample generator: one module per kind of image or document."""
