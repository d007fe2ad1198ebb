"""The Jupyter front: one context served over ZMQ.

    wire        frames to messages and back: signing, JSON
    channels    the five sockets, and the broadcast that two threads share
    front       cells and requests, and outputs as messages
    kernel      the loop on the thread that runs V8
    control     the second thread: control, heartbeat, signals, the parent process
    process     stderr, the parent process, how the two threads wake each other
    exits       what front ends are told before V8 ends the process
    heaps       saved heaps in a folder of the user's
    history     cells of this and earlier sessions, in SQLite
    settings    what the environment sets
    launch      from a command line to a running kernel
    install     the kernelspecs
    papermill   parameters as JavaScript, in papermill's own process

Two threads. The main one runs V8 and owns shell and stdin. The other owns control and
heartbeat, so that both answer while JavaScript keeps the first one busy. They share
iopub, under a lock, and a few flags.

Nothing that a kernel needs imports jupyter_client, ipykernel, traitlets or asyncio:
together they cost more than half of the time in which it has to give its first answer.
"""
