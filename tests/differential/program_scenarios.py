"""Programs: event loops, threads, forks, and ends of a program, by name.

What is left open or in flight when a program ends is tried by `tests/faults/test_leaving.py`, in
68 ways and against the bare SDK too; it is not repeated here.
"""

from __future__ import annotations

BEGIN = """
client = clients[0]
question = ask("whole")

def text(answer):
    return answer.choices[0].message.content

def call():
    return text(client.chat.complete(**question))

async def acall():
    return text(await client.chat.complete_async(**question))

def stream():
    with client.chat.stream(**question) as events:
        return "".join(event.data.choices[0].delta.content for event in events)

async def astream():
    async with await client.chat.stream_async(**question) as events:
        return "".join([event.data.choices[0].delta.content async for event in events])

def outcome(function, *arguments):
    try:
        return function(*arguments)
    except BaseException as error:
        return type(error).__name__
"""

PROGRAMS = {
    "a call": "print(call())",
    "a stream": "print(stream())",
    "an async call": "print(asyncio.run(acall()))",
    "an async stream": "print(asyncio.run(astream()))",
    "no call": "print(type(client).__name__)",
    "an exit status": "call(); sys.exit(3)",
    "an exit with a text": "call(); sys.exit('wrong')",
    "an exit at once": "call(); print('so far', flush=True); os._exit(4)",
    "an error": "call(); raise LookupError('of the program')",
    "an error in a stream": """
for event in client.chat.stream(**question):
    raise LookupError("of the program")
""",
    "an error in an async stream": """
async def main():
    async for event in await client.chat.stream_async(**question):
        raise LookupError("of the program")
asyncio.run(main())
""",
    "an interrupt": "call(); interrupt_soon(); time.sleep(5)",
    "a signal that ends it": "call(); os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)",
    "a call at exit": "atexit.register(lambda: print(call()))",
    "a call in a finalizer": """
class Thing:
    def __del__(self):
        print(outcome(call))
thing = Thing()
del thing
""",
    "a call in a signal handler": """
signal.signal(signal.SIGUSR1, lambda *_: print(call()))
os.kill(os.getpid(), signal.SIGUSR1)
print(call())
""",
    "a loop made by hand": """
loop = asyncio.new_event_loop()
print(loop.run_until_complete(acall()), loop.run_until_complete(astream()))
loop.close()
""",
    "a loop that is not closed": """
loop = asyncio.new_event_loop()
print(loop.run_until_complete(acall()))
""",
    "a loop in debug mode": "print(asyncio.run(acall(), debug=True))",
    "a sync call in a loop": """
async def main():
    return call(), stream()
print(asyncio.run(main()))
""",
    "a sync call in a thread of a loop": """
async def main():
    return await asyncio.gather(*[asyncio.to_thread(call) for _ in range(4)])
print(asyncio.run(main()))
""",
    "many tasks": """
async def main():
    return await asyncio.gather(*[acall() for _ in range(20)], *[astream() for _ in range(5)])
print(asyncio.run(main()))
""",
    "a task that is cancelled": """
client_question = ask("silent")
async def main():
    task = asyncio.create_task(client.chat.complete_async(**client_question))
    await asyncio.sleep(0.2)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled")
    print(await acall())
asyncio.run(main())
""",
    "a time limit": """
async def main():
    try:
        await asyncio.wait_for(client.chat.complete_async(**ask("silent")), 0.2)
    except asyncio.TimeoutError:
        print("too late")
    print(await acall())
asyncio.run(main())
""",
    "a time limit for a stream": """
async def main():
    try:
        async with asyncio.timeout(0.2):
            async for event in await client.chat.stream_async(**ask("silent")):
                print("an event")
    except TimeoutError:
        print("too late")
asyncio.run(main())
""",
    "a group of tasks that fails": """
async def fail():
    await asyncio.sleep(0.1)
    raise LookupError
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(client.chat.complete_async(**ask("silent")))
        group.create_task(fail())
try:
    asyncio.run(main())
except* LookupError as errors:
    print(len(errors.exceptions))
""",
    "two loops, one after the other": """
print(outcome(asyncio.run, acall()), outcome(asyncio.run, acall()))
""",
    "two loops in two threads": """
def run():
    return outcome(asyncio.run, acall())
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    print(*[each.result() for each in [pool.submit(run), pool.submit(run)]])
""",
    "eight threads": """
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(set(pool.map(lambda _: call(), range(24))))
""",
    "eight threads that stream": """
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(set(pool.map(lambda _: stream(), range(24))))
""",
    "a daemon thread in a call": """
def wait():
    return client.chat.complete(**ask("silent"))
threading.Thread(target=outcome, args=(wait,), daemon=True).start()
time.sleep(0.2)
print(call())
""",
    "a thread that outlives the program's end": """
threading.Thread(target=lambda: (time.sleep(0.2), print(call()))).start()
print(call())
""",
    "a stream read in another thread": """
events = client.chat.stream(**question)
with concurrent.futures.ThreadPoolExecutor(1) as pool:
    print(pool.submit(lambda: len(list(events))).result())
""",
    "a fork before a call": """
pid = os.fork()
print(call(), flush=True)
if not pid:
    sys.exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
    "a fork after a call": """
print(call(), flush=True)
pid = os.fork()
if not pid:
    print(call(), flush=True)
    sys.exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), call())
""",
    "a fork in a stream": """
events = iter(client.chat.stream(**question))
next(events)
pid = os.fork()
if not pid:
    os._exit(6)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(list(events)))
""",
    "a pool of processes": """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(eval, ["__import__('__main__').call()"] * 4))
""",
    "with blocks": """
with client:
    print(call())
async def main():
    async with client:
        print(await acall())
asyncio.run(main())
""",
    "a client that goes": """
gone = weakref.ref(client)
call()
del client, asks, calls, async_calls
clients.clear()
print(gone() is None)
""",
    "a copy": """
import copy
print(type(copy.copy(client)).__name__, call())
""",
    "a call with warnings as errors": """
import warnings
warnings.simplefilter("error")
print(call(), asyncio.run(astream()))
""",
    "a call without collections": "gc.disable(); print(call(), stream()); print(gc.isenabled())",
    "a call while modules are blocked": """
sys.modules["httpcore"] = sys.modules.get("httpcore")
print(call())
""",
    "a recursion limit": "sys.setrecursionlimit(300); print(outcome(call))",
    "a closed standard output": "call(); sys.stdout.close()",
}
