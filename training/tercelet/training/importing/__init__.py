"""Import of upstream weight files without upstream code and without running anything that is in them."""
