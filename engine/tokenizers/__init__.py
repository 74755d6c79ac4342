"""A text to a number of tokens: one tokenizer per family of models, and the registry that chooses among them."""
