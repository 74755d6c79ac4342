"""Counting tokens: encodings, model families, texts, messages, tool definitions, images."""
