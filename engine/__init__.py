"""The domain: counting, pricing, deciding, truncating, reporting. Pure and synchronous; it knows no SQL, MCP or HTTP."""
