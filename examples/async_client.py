"""Two answers at once, one of them as it comes: edge-es's client for asyncio."""

import asyncio

from edge_es.client import AsyncClient


async def main() -> None:
    async with AsyncClient() as edge:
        whole = asyncio.create_task(edge.chat("What is 17+25?"))
        async for piece in edge.stream("What is 3+4?"):
            print(piece.text, end="", flush=True)
        print()
        print((await whole).text)


asyncio.run(main())
