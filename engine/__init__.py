"""The domain: counts, prices, decides, truncates, reports. Pure and synchronous; it knows no SQL, MCP or HTTP."""
