"""The HTTPS port: the console, the log's tiles, metrics and health."""
