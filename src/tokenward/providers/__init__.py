"""Counting by the providers' own counting APIs: an opt-in, for text leaves the machine.

The shapes, as the providers document them (read on 2026-11-22):

- Anthropic, ``POST /v1/messages/count_tokens``: https://platform.claude.com/docs/build-with-claude/token-counting.
  Anthropic calls the count an estimate that can differ from the real use by a small amount. Server tools and images or
  documents by link are refused.
- Gemini, ``POST /v1beta/models/{model}:countTokens``: https://ai.google.dev/api/tokens. With system text or tools the
  whole ``generateContentRequest`` is sent, which has to name the model's resource again.
- OpenAI, ``POST /v1/responses/input_tokens``: https://developers.openai.com/docs/guides/counting-tokens and
  https://developers.openai.com/api/reference/cli/resources/responses/subresources/input_tokens.

Bedrock's CountTokens is left out: its requests are signed with AWS credentials, not sent with a key.
"""
