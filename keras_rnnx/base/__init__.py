"""What cells are made of: the interface to layers, the base of cells that are equations, and other cells adapted."""
