"""Ways of leaving a call or a stream; each is the rest of a program that has a `client`."""

from __future__ import annotations

SYNC = {
    "break": """
        for event in client.chat.stream(**ASK):
            break
    """,
    "break in a with block": """
        with client.chat.stream(**ASK) as events:
            for event in events:
                break
    """,
    "next()": """
        events = client.chat.stream(**ASK)
        next(iter(events))
    """,
    "next() of one that is dropped": """
        next(iter(client.chat.stream(**ASK)))
    """,
    "not begun": """
        events = client.chat.stream(**ASK)
    """,
    "return": """
        def first():
            for event in client.chat.stream(**ASK):
                return event
        first()
    """,
    "exception": """
        for event in client.chat.stream(**ASK):
            raise LookupError("mine")
    """,
    "sys.exit": """
        for event in client.chat.stream(**ASK):
            sys.exit(3)
    """,
    "os._exit": """
        for event in client.chat.stream(**ASK):
            os._exit(4)
    """,
    "closed": """
        events = client.chat.stream(**ASK)
        next(iter(events))
        events.response.close()
    """,
    "client closed": """
        with client:
            events = client.chat.stream(**ASK)
            next(iter(events))
    """,
    "in a global": """
        kept = iter(client.chat.stream(**ASK))
        next(kept)
        kept.generator.gi_frame  # suspended
    """,
    "in a closure": """
        def begin():
            events = iter(client.chat.stream(**ASK))
            next(events)
            return lambda: next(events)
        more = begin()
    """,
    "in a generator": """
        def texts():
            for event in client.chat.stream(**ASK):
                yield event.data.choices[0].delta.content
        text = texts()
        next(text)
    """,
    "in a module": """
        import types
        sys.modules["mine"] = mine = types.ModuleType("mine")
        mine.events = iter(client.chat.stream(**ASK))
        next(mine.events)
    """,
    "in a daemon thread": """
        begun = threading.Event()
        def read():
            for event in client.chat.stream(**ASK):
                begun.set()
        threading.Thread(target=read, daemon=True).start()
        begun.wait()
        time.sleep(0.05)
    """,
    "in a daemon thread that stops": """
        begun = threading.Event()
        def read():
            global events
            events = iter(client.chat.stream(**ASK))
            next(events)
            begun.set()
        threading.Thread(target=read, daemon=True).start()
        begun.wait()
    """,
    "in an executor": """
        def first():
            for event in client.chat.stream(**ASK):
                return event
        executor = concurrent.futures.ThreadPoolExecutor()
        futures = [executor.submit(first) for _ in range(3)]
    """,
    "in an executor, kept": """
        executor = concurrent.futures.ThreadPoolExecutor()
        events = iter(client.chat.stream(**ASK))
        executor.submit(next, events).result()
    """,
    "atexit": """
        @atexit.register
        def read():
            for event in client.chat.stream(**ASK):
                break
    """,
    "atexit, kept": """
        events = iter(client.chat.stream(**ASK))
        next(events)
        @atexit.register
        def read():
            next(events)
    """,
    "atexit, closed": """
        events = iter(client.chat.stream(**ASK))
        next(events)
        atexit.register(events.response.close)
    """,
    "finalizer": """
        events = iter(client.chat.stream(**ASK))
        next(events)
        weakref.finalize(client, events.response.close)
    """,
    "__del__": """
        class Reader:
            def __init__(self):
                self.events = iter(client.chat.stream(**ASK))
                next(self.events)
            def __del__(self, close=contextlib.suppress):
                with close(Exception):
                    self.events.response.close()
        reader = Reader()
    """,
    "weakref callback": """
        class Reader: pass
        events = iter(client.chat.stream(**ASK))
        next(events)
        reader = Reader()
        gone = weakref.ref(reader, lambda _, close=events.response.close: close())
        del reader
    """,
    "collector": """
        class Ring: pass
        ring = Ring()
        ring.ring, ring.events = ring, iter(client.chat.stream(**ASK))
        next(ring.events)
        del ring
        gc.collect()
    """,
    "collector at the end": """
        class Ring: pass
        gc.disable()
        ring = Ring()
        ring.ring, ring.events = ring, iter(client.chat.stream(**ASK))
        next(ring.events)
        del ring
    """,
    "fork": """
        events = iter(client.chat.stream(**ASK))
        next(events)
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """,
    "fork, then break": """
        child = os.fork()
        for event in client.chat.stream(**ASK):
            break
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """,
    "SIGINT": """
        interrupt_soon()
        for event in client.chat.stream(**ASK):
            time.sleep(5)
    """,
    "SIGTERM": """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        for event in client.chat.stream(**ASK):
            os.kill(os.getpid(), signal.SIGTERM)
    """,
    "several": """
        kept = [iter(client.chat.stream(**ASK)) for _ in range(4)]
        for events in kept:
            next(events)
        for event in client.chat.stream(**ASK):
            break
    """,
    "a call after it": """
        for event in client.chat.stream(**ASK):
            break
        client.chat.complete(**ASK)
    """,
}
"""Each is at the end of a program, where nothing comes to help it."""

SILENT = {
    "SIGINT while it waits": """
        interrupt_soon()
        for event in client.chat.stream(**ASK):
            pass
    """,
    "SIGINT in a call": """
        interrupt_soon()
        client.chat.complete(**ASK)
    """,
    "a daemon thread waits": """
        def read():
            for event in client.chat.stream(**ASK):
                begun.set()
        begun = threading.Event()
        threading.Thread(target=read, daemon=True).start()
        begun.wait()
        time.sleep(0.05)
    """,
    "a daemon thread waits in a call": """
        threading.Thread(target=client.chat.complete, kwargs=ASK, daemon=True).start()
        time.sleep(0.2)
    """,
}
"""For a server that says no more."""

_RUN = """
        asyncio.run(main())
"""

ASYNC = {
    "break": """
        async def main():
            async for event in await client.chat.stream_async(**ASK):
                break
    """
    + _RUN,
    "break in a with block": """
        async def main():
            async with await client.chat.stream_async(**ASK) as events:
                async for event in events:
                    break
    """
    + _RUN,
    "break, then go on": """
        async def main():
            async for event in await client.chat.stream_async(**ASK):
                break
            await asyncio.sleep(0.05)
    """
    + _RUN,
    "anext()": """
        async def main():
            events = await client.chat.stream_async(**ASK)
            await anext(aiter(events))
    """
    + _RUN,
    "not begun": """
        async def main():
            events = await client.chat.stream_async(**ASK)
    """
    + _RUN,
    "return": """
        async def main():
            async for event in await client.chat.stream_async(**ASK):
                return event
    """
    + _RUN,
    "exception": """
        async def main():
            async for event in await client.chat.stream_async(**ASK):
                raise LookupError("mine")
    """
    + _RUN,
    "sys.exit": """
        async def main():
            async for event in await client.chat.stream_async(**ASK):
                sys.exit(3)
    """
    + _RUN,
    "closed": """
        async def main():
            events = await client.chat.stream_async(**ASK)
            await anext(aiter(events))
            await events.response.aclose()
    """
    + _RUN,
    "in a global": """
        async def main():
            global events
            events = aiter(await client.chat.stream_async(**ASK))
            await anext(events)
    """
    + _RUN,
    "in a closure": """
        async def main():
            events = aiter(await client.chat.stream_async(**ASK))
            await anext(events)
            return lambda: events
        more = asyncio.run(main())
    """,
    "in a generator": """
        async def texts():
            async for event in await client.chat.stream_async(**ASK):
                yield event.data.choices[0].delta.content
        async def main():
            global text
            text = texts()
            await anext(text)
    """
    + _RUN,
    "cancellation": """
        async def read():
            async for event in await client.chat.stream_async(**ASK):
                begun.set()
                await asyncio.sleep(5)
        async def main():
            global begun
            begun = asyncio.Event()
            task = asyncio.create_task(read())
            await begun.wait()
            task.cancel()
            await asyncio.wait([task])
    """
    + _RUN,
    "a task that is left": """
        async def read():
            async for event in await client.chat.stream_async(**ASK):
                begun.set()
                await asyncio.sleep(5)
        async def main():
            global begun, task
            begun = asyncio.Event()
            task = asyncio.create_task(read())
            await begun.wait()
    """
    + _RUN,
    "a group that fails": """
        async def read():
            async for event in await client.chat.stream_async(**ASK):
                begun.set()
                await asyncio.sleep(5)
        async def main():
            global begun
            begun = asyncio.Event()
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(read())
                    await begun.wait()
                    raise LookupError("mine")
    """
    + _RUN,
    "a loop that only stops": """
        async def main():
            global events
            events = aiter(await client.chat.stream_async(**ASK))
            await anext(events)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
    """,
    "a loop that only stops, after a break": """
        async def main():
            async for event in await client.chat.stream_async(**ASK):
                break
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
    """,
    "a loop that closes": """
        async def main():
            global events
            events = aiter(await client.chat.stream_async(**ASK))
            await anext(events)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
    """,
    "a loop that shuts down and closes": """
        async def main():
            global events
            events = aiter(await client.chat.stream_async(**ASK))
            await anext(events)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    """,
    "in a daemon thread": """
        begun = threading.Event()
        async def main():
            async for event in await client.chat.stream_async(**ASK):
                begun.set()
                await asyncio.sleep(5)
        threading.Thread(target=asyncio.run, args=[main()], daemon=True).start()
        begun.wait()
    """,
    "in an executor": """
        async def main():
            async for event in await client.chat.stream_async(**ASK):
                return event
        executor = concurrent.futures.ThreadPoolExecutor()
        futures = [executor.submit(lambda: asyncio.run(main())) for _ in range(2)]
    """,
    "atexit": """
        async def main():
            async for event in await client.chat.stream_async(**ASK):
                break
        atexit.register(lambda: asyncio.run(main()))
    """,
    "collector": """
        class Ring: pass
        async def main():
            ring = Ring()
            ring.ring, ring.events = ring, aiter(await client.chat.stream_async(**ASK))
            await anext(ring.events)
            del ring
            gc.collect()
            await asyncio.sleep(0.05)
    """
    + _RUN,
    "collector at the end": """
        class Ring: pass
        gc.disable()
        async def main():
            ring = Ring()
            ring.ring, ring.events = ring, aiter(await client.chat.stream_async(**ASK))
            await anext(ring.events)
    """
    + _RUN,
    "fork": """
        async def main():
            global events
            events = aiter(await client.chat.stream_async(**ASK))
            await anext(events)
        asyncio.run(main())
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """,
    "SIGINT": """
        interrupt_soon()
        async def main():
            async for event in await client.chat.stream_async(**ASK):
                await asyncio.sleep(5)
    """
    + _RUN,
    "several": """
        async def main():
            global kept
            kept = [aiter(await client.chat.stream_async(**ASK)) for _ in range(3)]
            for events in kept:
                await anext(events)
    """
    + _RUN,
    "a loop after it": """
        async def main():
            async for event in await client.chat.stream_async(**ASK):
                break
        asyncio.run(main())
        asyncio.run(main())
    """,
}

ENDED_BY_THE_LOOP = {
    "anext()",
    "in a global",
    "in a closure",
    "in a generator",
    "a loop that only stops, after a break",
    "a loop that shuts down and closes",
    "collector at the end",
    "fork",
    "several",
}
"""Asynchronous ways in which asyncio ends the generators of a stream, at once and in no order.

Whether the HTTP library's generators complain of that is chance, with the bare SDK too.
"""
