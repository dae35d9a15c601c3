"""The HTTP server: one core, every client's wire format. Extra: ``serve``."""
