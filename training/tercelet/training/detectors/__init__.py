"""One folder a detector family; families.py has the table of them, the blocks they share lie beside it."""
