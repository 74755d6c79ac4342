"""A text to a number of tokens: one tokenizer per family of models, and the registry that chooses among them.

The contract is in ``base``; ``registry`` says who counts for a model. Behind it:

- OpenAI, exactly: ``openai`` by the published ``encodings``, with ``fast`` for the faster core. ``text`` cuts what is
  long, and ``pieces`` counts what cannot be cut.
- Claude, exactly: ``claude`` by ``claude_ctok``, remembered by ``claude_segments``; ``claude_tiling`` finds the
  fewest pieces.
- Vocabulary files: ``files`` reads the user's and ``mistral`` the library's, with ``tekken`` for Mistral's own format.
  ``parts`` cuts long texts for tokenizers of which nothing is known.
- The code of others: ``plugins`` finds it, and ``guarded`` keeps its failures, and those of files and libraries, away.
- Estimates: ``estimate`` from the ``features`` of a text; ``assumed`` where a model is only taken to be like another.
"""
