"""Stand-in until the real one lands."""


async def serve(settings, stop, ready):
    await stop.wait()
