"""The Jupyter front: one context served over ZMQ.

    wire        frames to messages and back: signing, JSON
    channels    the five sockets, and the broadcast that two threads share
    inputs      prompt(): asking the user over stdin
    outputs     the context's events as messages of the cell that caused them
    executions  the queue of cells and the one that runs
    requests    everything else that comes in on shell
    control     the second thread: control, heartbeat, signals, the parent process
    lastwords   what is said before the process must be killed
    history     cells of this and earlier sessions, in SQLite
    kernel      the loop on the thread that runs V8
    launch      from a command line to a running kernel

Two threads. The main one runs V8 and owns shell and stdin. The other owns control and
heartbeat, so that both answer while JavaScript keeps the first one busy. They share
iopub, under a lock, and a few flags.

Nothing here imports jupyter_client, ipykernel, traitlets or asyncio: together they cost
more than half of the time in which a kernel has to give its first answer.
"""
