"""Clients of benchmarks/service.py: each keeps a connection and sends the next request after an answer.

    python benchmarks/service_load.py PORT CLIENTS SECONDS USERS.json [APPENDERS]

It prints one JSON object. HTTP is written by hand, since a client library would take more of the processor than the
service. APPENDERS clients send interactions at the same time.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

#: Items of a list.
K = 10


async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: dict) -> tuple[int, bytes]:
    """Send a request, and wait for the answer; returns status and body."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
    )
    writer.write(head.encode() + b"\r\n\r\n" + content)
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(answer.split(b"content-length:")[1].split(b"\r\n")[0])
    return int(answer.split(b" ", 2)[1]), await reader.readexactly(length)


async def client(
    port: int, path: str, body: Callable[[], dict], end: float, seconds: list[float], errors: list
) -> None:
    """Send requests until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end:
        start = time.perf_counter()
        status, content = await call(reader, writer, path, body())
        seconds.append(time.perf_counter() - start)
        if status not in (200, 201):
            errors.append([status, content.decode()[:200]])
    writer.close()


def figures(seconds: list[float], errors: list, duration: float) -> dict:
    """Requests a second, percentiles in milliseconds, and errors."""
    ordered = sorted(seconds) or [0.0]
    p50, p99 = (1000 * ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
    return {
        "requests": len(seconds),
        "requests_s": len(seconds) / duration,
        "p50_ms": p50,
        "p99_ms": p99,
        "errors": len(errors),
        "first_errors": errors[:3],
    }


async def load(port: int, n_clients: int, duration: float, users: list, n_appenders: int) -> dict:
    """Figures of the lists, and of the appended interactions if there are any."""
    rng = random.Random(0)
    items = list(range(1, 1000))

    def lists() -> dict:
        return {"users": [rng.choice(users)], "k": K}

    def rows() -> dict:
        return {"interactions": [{"user": rng.choice(users), "item": rng.choice(items)}]}

    end = time.perf_counter() + duration
    asked: tuple[list[float], list] = ([], [])
    appended: tuple[list[float], list] = ([], [])
    await asyncio.gather(
        *(client(port, "/recommend", lists, end, *asked) for _ in range(n_clients)),
        *(client(port, "/interactions", rows, end, *appended) for _ in range(n_appenders)),
    )
    result = figures(*asked, duration)
    return result if not n_appenders else {**result, "appends": figures(*appended, duration)}


def main() -> None:
    port, n_clients, seconds, file, *others = sys.argv[1:]
    users = json.loads(Path(file).read_text())
    print(json.dumps(asyncio.run(load(int(port), int(n_clients), float(seconds), users, int((others or ["0"])[0])))))


if __name__ == "__main__":
    main()
