"""PostgreSQL: the one place that speaks SQL.

Everything durable is here, and everything that could fail for the database's sake fails as `AuditUnavailable`.
"""
