"""A context's process: one context, two sockets, and nothing else.

    channel     frames on a socket, with what waits in both directions
    front       cells and requests, which come in on `work`
    control     the second thread: interrupt, memory, the end of the server
    copies      processes that are forked from this one: clones, and what saves heaps
    exits       the ends of the process that the server is told of
    loop        the loop on the thread that runs V8
    main        from a forked process to a running loop

The main thread runs V8 and owns `work`; the second one owns `control`, so that an
interrupt is heard while JavaScript keeps the first one busy. Nothing is imported once
the process is confined.
"""
