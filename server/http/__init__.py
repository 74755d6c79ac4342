"""The door over HTTP: the application, what guards it, and the process that serves it."""
