"""PostgreSQL: what the broker keeps, and how it is changed."""
