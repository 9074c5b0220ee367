"""Training of point detectors: rooms with boxes in, a checkpoint with its card and curves out."""
