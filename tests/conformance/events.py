"""What a client missed, kept for when it comes back."""

from dataclasses import dataclass, field

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCMessage


@dataclass
class EventsInMemory(EventStore):
    """All events in their order; an event's identifier is its place."""

    events: list[tuple[str, JSONRPCMessage | None]] = field(default_factory=list[tuple[str, JSONRPCMessage | None]])

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep an event; one without a message only marks the place."""
        self.events.append((stream_id, message))
        return str(len(self.events) - 1)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send again what followed in the same stream."""
        if not last_event_id.isdecimal() or int(last_event_id) >= len(self.events):
            return None
        last = int(last_event_id)
        stream, _ = self.events[last]
        for place, (other, message) in enumerate(self.events[last + 1 :], last + 1):
            if other == stream and message is not None:
                await send_callback(EventMessage(message, str(place)))
        return stream
