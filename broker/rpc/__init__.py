"""The gRPC edge: parses once, asks a use case, and maps what it says. No decision is made here."""
