"""The token ledger and budget authority for AI agents."""
