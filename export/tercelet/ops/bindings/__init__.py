"""What makes the ops of `OPS` known to a framework; one file a framework, nothing in them names an op."""
