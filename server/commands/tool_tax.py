"""The tool tax: what a server's list of tools costs a model in every request that carries it."""

from tokenward.engine.errors import InvalidInput
from tokenward.engine.types import JsonObject
from tokenward.server.commands.mcp_tools import ToolList
from tokenward.server.commands.session import Refused
from tokenward.service import Tokenward
from tokenward.tools.counted import Counted, window_fit
from tokenward.tools.definition import Result

_QUESTION: JsonObject = {"role": "user", "content": "x"}


class Tax(Result):
    """What something adds to a request. The truth lies between ``lower`` and ``upper``."""

    tokens: int
    lower: int
    upper: int


class TaxedTool(Tax):
    """What a request with this tool alone costs more than one without tools."""

    name: str


class ToolTax(Counted):
    """What the whole list adds to a request; the server's instructions, as system text, apart.

    ``sum_of_tools`` is more than ``tokens`` where a request pays something once, however many tools it has.
    """

    server: str
    tools: list[TaxedTool]
    sum_of_tools: int
    instructions: Tax | None = None
    warnings: list[str] | None = None


def tool_tax(service: Tokenward, listed: ToolList, model: str) -> ToolTax:
    """Count each tool alone, the whole list and the instructions, as differences of requests.

    Raises:
        InvalidInput: The model's name cannot be one.
        Refused: A definition cannot be read.
    """
    counter = service.counter.text_counter(model)

    def added(tools: list[JsonObject], system: str | None = None) -> Tax:
        count = service.count_messages([_QUESTION], model, tools=tools or None, system=system)
        return Tax(
            tokens=count.tokens - bare.tokens, lower=max(count.lower - bare.lower, 0), upper=count.upper - bare.upper
        )

    bare = service.count_messages([_QUESTION], model)
    try:
        whole_request = service.count_messages([_QUESTION], model, tools=list(listed.tools) or None)
        tools = [TaxedTool(name=str(tool["name"]), **dict(added([tool]))) for tool in listed.tools]
    except InvalidInput as error:
        raise Refused(f"--mcp: the server's list cannot be counted: {error}") from None
    whole = added(list(listed.tools))
    return ToolTax(
        **dict(whole),
        **dict(window_fit(whole.tokens, whole.upper, counter.info.context_window)),
        exact=counter.exact and whole.lower == whole.upper,
        method=whole_request.method,
        model=counter.info.requested,
        encoding=counter.info.encoding,
        server=listed.server,
        tools=tools,
        sum_of_tools=sum(tool.tokens for tool in tools),
        instructions=added([], listed.instructions) if listed.instructions else None,
        warnings=list(whole_request.warnings) or None,
    )
