"""What one partner can do to the others: clients that flood, open without end, or never read."""
