"""The doors: settings, the application, the stdio transport and the command line."""
