"""What clients are offered besides tools: resources, completions of their names, and a prompt."""
