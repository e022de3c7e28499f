"""A tiny HTTP server that takes a known time to answer: what the load generator is tried against.

    python sleeper.py [--milliseconds N] [--stall_at N --stall MS]

It prints its port. Every request waits so many milliseconds and gets 200. When request number `--stall_at` comes, the whole server stops
once, for `--stall` milliseconds.
"""

import argparse
import asyncio
import time

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Sleeper(asyncio.Protocol):
    """A connection of the server."""

    number = 0

    def __init__(self, seconds: float, stall_at: int | None, stall: float) -> None:
        self.seconds, self.stall_at, self.stall = seconds, stall_at, stall

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer the requests that have come, after the known time."""
        for _ in range(data.count(b"\r\n\r\n")):
            Sleeper.number += 1
            if Sleeper.number == self.stall_at:
                time.sleep(self.stall)
            if self.seconds:
                asyncio.get_running_loop().call_later(self.seconds, self.answer)
            else:
                self.answer()

    def answer(self) -> None:
        """Send the answer."""
        if not self.transport.is_closing():
            self.transport.write(ANSWER)


async def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--milliseconds", type=float, default=0.0)
    parser.add_argument("--stall_at", type=int)
    parser.add_argument("--stall", type=float, default=100.0)
    given = parser.parse_args()
    loop = asyncio.get_running_loop()
    make = lambda: Sleeper(given.milliseconds / 1000, given.stall_at, given.stall / 1000)  # noqa: E731
    server = await loop.create_server(make, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
