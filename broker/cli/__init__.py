"""The `broker` command: one file per noun."""
