"""Ways of leaving a call or a stream; each is the end of a program.

`calls` begin a stream each: with two clients, of a response that has arrived whole, one that stalls
after its end mark, and one that never ends. Nothing that comes after a way helps it to end.
"""

from __future__ import annotations

import textwrap

SYNC = {
    "break": """
        for call in calls:
            for event in call():
                break
    """,
    "break in a with block": """
        for call in calls:
            with call() as events:
                for event in events:
                    break
    """,
    "break, in a global": """
        all_events = [call() for call in calls]
        for events in all_events:
            for event in events:
                break
    """,
    "next()": """
        events = calls[0]()
        next(iter(events))
    """,
    "next() of one that is dropped": """
        for call in calls:
            next(iter(call()))
    """,
    "not begun": """
        all_events = [call() for call in calls]
    """,
    "return": """
        def first(call):
            for event in call():
                return event
        for call in calls:
            first(call)
    """,
    "exception": """
        def through(calls):
            for event in calls[0]():
                if len(calls) > 1:
                    through(calls[1:])
                raise LookupError("mine")
        through(calls)
    """,
    "sys.exit": """
        kept = [iter(call()) for call in calls]
        for events in kept[1:]:
            next(events)
        for event in kept[0]:
            sys.exit(3)
    """,
    "sys.exit in loops": """
        def through(calls):
            for event in calls[0]():
                if len(calls) > 1:
                    through(calls[1:])
                sys.exit(3)
        through(calls)
    """,
    "os._exit": """
        kept = begin_all()
        os._exit(4)
    """,
    "closed": """
        for call in calls:
            events = call()
            next(iter(events))
            events.response.close()
    """,
    "client closed": """
        kept = begin_all()
        for client in clients:
            with client:
                pass
    """,
    "in a closure": """
        def begin(call):
            events = iter(call())
            next(events)
            return lambda: next(events)
        more = [begin(call) for call in calls]
    """,
    "in a generator": """
        def texts(call):
            for event in call():
                yield event.data.choices[0].delta.content
        kept = [texts(call) for call in calls]
        for text in kept:
            next(text)
    """,
    "in a module": """
        import types
        sys.modules["mine"] = mine = types.ModuleType("mine")
        mine.kept = begin_all()
    """,
    "in a daemon thread": """
        all_begun = threading.Barrier(len(calls) + 1)
        def read(call):
            for event in call():
                break
            kept = iter(call())
            next(kept)
            all_begun.wait()
            time.sleep(9)
        for call in calls:
            threading.Thread(target=read, args=[call], daemon=True).start()
        all_begun.wait()
    """,
    "in an executor": """
        def first(call):
            for event in call():
                return event
        executor = concurrent.futures.ThreadPoolExecutor()
        futures = [executor.submit(first, call) for call in calls]
    """,
    "in an executor, kept": """
        executor = concurrent.futures.ThreadPoolExecutor()
        kept = [iter(call()) for call in calls]
        for events in kept:
            executor.submit(next, events).result()
    """,
    "atexit": """
        @atexit.register
        def read():
            for call in calls:
                for event in call():
                    break
    """,
    "atexit, kept": """
        kept = [iter(call()) for call in calls]
        @atexit.register
        def read():
            for events in kept:
                next(events)
    """,
    "atexit, closed": """
        for call in calls:
            events = call()
            next(iter(events))
            atexit.register(events.response.close)
    """,
    "finalizers": """
        for call in calls:
            events = call()
            next(iter(events))
            weakref.finalize(call, events.response.close)
    """,
    "__del__": """
        class Reader:
            def __init__(self, call):
                self.events = call()
                next(iter(self.events))
            def __del__(self):
                self.events.response.close()
        readers = [Reader(call) for call in calls]
    """,
    "weakref callback": """
        class Reader: pass
        for call in calls:
            reader, events = Reader(), call()
            next(iter(events))
            gone = weakref.ref(reader, lambda _, close=events.response.close: close())
            del reader
    """,
    # At one moment only: a run of the collector that frees a stream while httpcore holds its pool's
    # lock waits for it for ever, also with the bare SDK. See `faults/test_collector.py`.
    "collector": """
        class Ring: pass
        gc.disable()
        for call in calls:
            ring = Ring()
            ring.ring, ring.events = ring, iter(call())
            next(ring.events)
        del ring
        gc.collect()
    """,
    "collector at the end": """
        class Ring: pass
        gc.disable()
        for call in calls:
            ring = Ring()
            ring.ring, ring.events = ring, iter(call())
            next(ring.events)
    """,
    "fork": """
        kept = begin_all()
        end_with(os.fork())
    """,
    "fork, then break": """
        child = os.fork()
        for call in calls:
            for event in call():
                break
        end_with(child)
    """,
    "SIGINT": """
        kept = [iter(call()) for call in calls]
        for events in kept[1:]:
            next(events)
        interrupt_soon()
        for event in kept[0]:
            time.sleep(5)
    """,
    "SIGINT while it waits": """
        interrupt_soon()
        for event in clients[0].chat.stream(**ask("silent")):
            pass
    """,
    "SIGINT in a call": """
        interrupt_soon()
        clients[0].chat.complete(**ask("silent"))
    """,
    "SIGTERM": """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        for event in calls[0]():
            os.kill(os.getpid(), signal.SIGTERM)
    """,
    "a daemon thread waits": """
        begun = threading.Event()
        def read(client):
            for event in client.chat.stream(**ask("silent")):
                begun.set()
        for client in clients:
            threading.Thread(target=read, args=[client], daemon=True).start()
        begun.wait()
        time.sleep(0.05)
    """,
    "a daemon thread waits in a call": """
        for client in clients:
            threading.Thread(
                target=client.chat.complete, kwargs=ask("silent"), daemon=True
            ).start()
        time.sleep(0.1)
    """,
    "read to the end": """
        for _ in range(2):
            for call in calls[::3]:
                list(call())
    """,
    "a call after it": """
        for call in calls:
            for event in call():
                break
        for client in clients:
            client.chat.complete(**ask("whole"))
    """,
}


# ---------------------------------------------------------------- asynchronous ways

KEEP = """
    global kept
    kept = [aiter(await call()) for call in async_calls]
    for events in kept:
        await anext(events)
"""
BREAK = """
    for call in async_calls:
        async for event in await call():
            break
"""
READ_ALL = """
    for call in async_calls[::3]:
        async for event in await call():
            pass
"""
IN_A_LOOP = "loop = asyncio.new_event_loop()\nloop.run_until_complete(main())"


def in_main(body: str, *then: str) -> str:
    """Return a program whose `main()` is a coroutine function with this body."""
    main = f"async def main():\n{textwrap.indent(textwrap.dedent(body), '    ')}"
    return "\n".join([main, *(then or ["asyncio.run(main())"])])


ASYNC = {
    "break": in_main(BREAK),
    "break in a with block": in_main("""
        for call in async_calls:
            async with await call() as events:
                async for event in events:
                    break
    """),
    "break, then go on": in_main("""
        for call in async_calls:
            async for event in await call():
                break
            await asyncio.sleep(0.01)
    """),
    "anext()": in_main("""
        for call in async_calls:
            events = await call()
            await anext(aiter(events))
    """),
    "not begun": in_main(
        "return [await call() for call in async_calls]", "all_events = asyncio.run(main())"
    ),
    "return": in_main("""
        async def first(call):
            async for event in await call():
                return event
        await asyncio.gather(*map(first, async_calls))
    """),
    "exception": in_main("""
        async for event in await async_calls[0]():
            raise LookupError("mine")
    """),
    "sys.exit": in_main("""
        async for event in await async_calls[0]():
            sys.exit(3)
    """),
    "closed": in_main("""
        for call in async_calls:
            events = await call()
            await anext(aiter(events))
            await events.response.aclose()
    """),
    "in a global": in_main(KEEP),
    "in a closure": in_main(
        """
        async def begin(call):
            events = aiter(await call())
            await anext(events)
            return lambda: anext(events)
        return [await begin(call) for call in async_calls]
    """,
        "more = asyncio.run(main())",
    ),
    "in a generator": in_main("""
        async def texts(call):
            async for event in await call():
                yield event.data.choices[0].delta.content
        global kept
        kept = [texts(call) for call in async_calls]
        for text in kept:
            await anext(text)
    """),
    "cancellation": in_main("""
        for call in async_calls:
            begun = asyncio.Event()
            task = asyncio.create_task(read_on(call, begun))
            await begun.wait()
            task.cancel()
            await asyncio.wait([task])
    """),
    "cancellation while it waits": in_main("""
        for client in clients:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    async for event in await client.chat.stream_async(**ask("silent")):
                        pass
    """),
    "a task that is left": in_main("""
        global tasks
        begun = [asyncio.Event() for _ in async_calls]
        tasks = [asyncio.create_task(read_on(*each)) for each in zip(async_calls, begun)]
        await asyncio.gather(*(each.wait() for each in begun))
    """),
    "a group that fails": in_main(
        """
        begun = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for call in async_calls:
                group.create_task(read_on(call, begun))
            await begun.wait()
            raise LookupError("mine")
    """,
        "with contextlib.suppress(ExceptionGroup):",
        "    asyncio.run(main())",
    ),
    "a loop that only stops": in_main(KEEP, IN_A_LOOP),
    "a loop that only stops, after a break": in_main(
        """
        for call in async_calls:
            async with await call() as events:
                async for event in events:
                    break
    """,
        IN_A_LOOP,
    ),
    "a loop that closes": in_main(KEEP, IN_A_LOOP, "loop.close()"),
    "a loop that shuts down and closes": in_main(
        KEEP, IN_A_LOOP, "loop.run_until_complete(loop.shutdown_asyncgens())", "loop.close()"
    ),
    "in a daemon thread": """
        begun = threading.Event()
        async def main():
            async for event in await async_calls[0]():
                begun.set()
                await asyncio.sleep(5)
        threading.Thread(target=asyncio.run, args=[main()], daemon=True).start()
        begun.wait()
    """,
    "in an executor": """
        async def main(call):
            async for event in await call():
                return event
        executor = concurrent.futures.ThreadPoolExecutor()
        futures = [executor.submit(asyncio.run, main(call)) for call in async_calls[::3]]
    """,
    "atexit": in_main(BREAK, "atexit.register(lambda: asyncio.run(main()))"),
    "collector": in_main("""
        class Ring: pass
        for call in async_calls:
            ring = Ring()
            ring.ring, ring.events = ring, aiter(await call())
            await anext(ring.events)
        del ring
        gc.collect()
        await asyncio.sleep(0.05)
    """),
    "collector at the end": in_main("""
        class Ring: pass
        gc.disable()
        for call in async_calls:
            ring = Ring()
            ring.ring, ring.events = ring, aiter(await call())
            await anext(ring.events)
    """),
    "fork": in_main(KEEP, "asyncio.run(main())", "end_with(os.fork())"),
    "SIGINT": in_main("""
        async for event in await async_calls[0]():
            interrupt_soon()
            await asyncio.sleep(5)
    """),
    "SIGINT while it waits": in_main("""
        interrupt_soon()
        async for event in await clients[0].chat.stream_async(**ask("silent")):
            pass
    """),
    "read to the end": in_main(READ_ALL * 2),
    "a loop that only stops after reading to the end": in_main(READ_ALL, IN_A_LOOP),
    "a loop after it": in_main(BREAK, *["asyncio.run(main())"] * 2),
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
}
"""Asynchronous ways in which asyncio ends the generators of a stream, at once and in no order.

Whether the HTTP library's generators complain of that is chance, with the bare SDK too.
"""
