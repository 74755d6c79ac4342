"""Who may ask: bearer tokens of the settings, and tokens of an OAuth authorization server."""
