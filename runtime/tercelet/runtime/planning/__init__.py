"""Planners: from a density map to the parts of a frame that deserve a closer look."""
