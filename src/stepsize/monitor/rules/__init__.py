"""One file per rule; the catalog lists them."""
