"""What a model is told about the tools as a whole. Every conversation pays for it, so only what is served is taught."""

from collections.abc import Collection


def instructions_for(tools: Collection[str]) -> str:
    """The way from reserving to recording, in at most 200 tokens.

    Args:
        tools: The names of the tools that are served; no other is mentioned.
    """
    lines = ["Tokenward counts tokens, prices work and keeps the ledger of what was used."]
    if "check_quota" in tools:
        lines.append(
            "Before costly work: check_quota with reserve=true (input_tokens or messages, max_output_tokens, model). "
            "If not allowed, wait retry_after_seconds or ask for less."
        )
    if "record_usage" in tools:
        reserved = "the reservation_id and " if "check_quota" in tools else ""
        counted = ", and counted_tokens, what count_messages said" if "count_messages" in tools else ""
        lines.append(
            f"After it: record_usage with {reserved}the real numbers or the provider's response{counted}."
            + (" If the work did not happen: release_quota." if "release_quota" in tools else "")
        )
    if "count_tokens" in tools:
        lines.append("To count files give paths to count_tokens instead of pasting them.")
    shortening = [one for one in ("truncate_history", "compress_messages") if one in tools]
    if shortening:
        lines.append(f"If a history grows too long: {' or '.join(shortening)}.")
    lines.append(
        "exact=false marks an estimate; the truth lies between lower and upper. Limits are set by people, not by tools."
    )
    return "\n".join(lines)
