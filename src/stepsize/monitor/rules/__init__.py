"""One file a rule; the catalog enrols them."""
