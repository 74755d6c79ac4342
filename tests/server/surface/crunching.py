"""A server with a tool that computes until it is told to stop. Run it to serve over standard input and output."""

import sys
import threading

from tests.server.odd_server import Echo, open_context
from tokenward.engine.steps import Stopped, checkpoint
from tokenward.server.stdio import serve_stdio
from tokenward.server.strict import StrictServer
from tokenward.tools.definition import Tool, ToolContext
from tokenward.workers import run_in_thread


class Cruncher:
    """Computes in steps of about a millisecond.

    Attributes:
        begun: It computes.
        stopped: It was stopped, and computes no more.
        steps_after: How many steps it began after the call had ended.
    """

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.stopped = threading.Event()
        self.steps_after = 0
        self._left = threading.Event()

    def work(self) -> None:
        print("begun", file=sys.stderr, flush=True)
        self.begun.set()
        try:
            while True:
                checkpoint()
                self.steps_after += self._left.is_set()
                sum(range(20_000))
        except Stopped:
            self.stopped.set()
            print("stopped", file=sys.stderr, flush=True)
            raise

    @property
    def server(self) -> StrictServer:
        async def crunch(context: ToolContext) -> Echo:
            try:
                await run_in_thread(self.work)
            finally:
                self._left.set()
            return Echo(length=0)

        async def echo(context: ToolContext, *, text: str) -> Echo:
            return Echo(length=len(text))

        tools = [Tool(run=run, description="", result=Echo, read_only=True, idempotent=True) for run in (crunch, echo)]
        return StrictServer("c", version="1", instructions="", load_tools=lambda: tools, open_context=open_context)


if __name__ == "__main__":
    serve_stdio(Cruncher().server)
