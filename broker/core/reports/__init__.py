"""Reports about what the log holds: pure calculations over lines of it, and documents made of them."""
