"""The whole log in the database, derived again from its entries: read only, in one snapshot, memory bounded."""
