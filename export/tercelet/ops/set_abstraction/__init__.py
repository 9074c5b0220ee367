"""SetAbstraction: see README.md."""
