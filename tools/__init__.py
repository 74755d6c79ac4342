"""The MCP tools: one module each, holding its result model, its description and a thin function. No transport here."""
