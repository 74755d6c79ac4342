"""What a caller may ask of a tool: checked before it runs, and with the caller's own name where none is given."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from tokenward.engine.types import JsonValue
from tokenward.tools.arguments import check_arguments
from tokenward.tools.definition import Result, Tool, ToolContext
from tokenward.tools.principal import Principal


async def run_for(
    principal: Principal | None,
    tool: Tool,
    given: Mapping[str, JsonValue],
    opened: Callable[[], Awaitable[ToolContext]],
) -> Result:
    """Run a tool as somebody: the one way to a tool for everything that comes from outside.

    Args:
        principal: Who asks; ``None`` where nobody authenticates.
        tool: What is asked for.
        given: The arguments as they came.
        opened: Gives what the tool works with, once the arguments are known to be good.

    Raises:
        Forbidden: The caller may not do this, or not as whom it is asked for.
        TokenwardError: Wrong arguments, or what the tool raises.
    """
    if principal is not None:
        principal.require(tool.scope, tool.name)
    arguments = check_arguments(tool, given)
    if principal is None:
        return await tool.run(await opened(), **arguments)
    arguments = permitted(tool, arguments, principal)
    context = replace(await opened(), principal=principal)
    await claim_session(context, arguments, principal)
    return await tool.run(context, **arguments)


def permitted(tool: Tool, arguments: Mapping[str, JsonValue], principal: Principal) -> dict[str, JsonValue]:
    """The arguments as the caller may give them. Every tool that has a user or a group is covered by their names.

    A reservation says itself whose it is, and of which group; nobody but its user or an ``admin`` can settle it. Where
    an ``admin`` names no user, a report is on everybody. What only an ``admin`` can ask for is theirs to word.

    Args:
        tool: What is asked for.
        arguments: Checked.
        principal: Who asks. The scope is the caller's of this function to check, before the arguments are.

    Raises:
        Forbidden: Somebody else, or a group of others, is named.
        InvalidInput: The caller belongs to several groups and names none.
    """
    own: dict[str, JsonValue] = dict(arguments)
    if tool.scope == "admin":
        return own
    user, group = _name(arguments.get("user")), _name(arguments.get("group"))
    reserved = arguments.get("reservation_id") is not None
    anybody = user is None and principal.has("admin") and (reserved or tool.scope == "report")
    if "user" in tool.parameters and not anybody:
        own["user"] = principal.user(user)
    for_itself = own.get("user") == principal.subject and not reserved
    if "group" in tool.parameters and (group is not None or for_itself):
        group = principal.group(group)
        if group is not None:
            own["group"] = group
    return own


async def claim_session(context: ToolContext, arguments: Mapping[str, JsonValue], principal: Principal) -> None:
    """See to it that a session which is named is the caller's own: its limits are no one else's to use up or to see.

    Raises:
        InvalidInput: It is another user's.
    """
    session = _name(arguments.get("session"))
    if session is not None and not principal.has("admin"):
        await context.service.tracker.claim_session(principal.subject, session)


def _name(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None
