"""How asyncio programs take their jobs and do them."""

import asyncio

from stand_in import failure, lines, report


async def awaited():
    """Each line, while the loop's other tasks go on."""
    pending = lines()
    while (line := await asyncio.to_thread(next, pending, None)) is not None:
        yield line


async def do_all(run):
    """The jobs of each line at once, with an answer for each, in order."""

    async def attempt(job):
        try:
            return await run(job)
        except Exception as error:
            return failure(error)

    async for line in awaited():
        for answer in await asyncio.gather(*map(attempt, line if isinstance(line, list) else [line])):
            report(answer)
