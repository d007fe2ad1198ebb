"""What both fronts share: the cell runner, Jupyter's messages, frames.

    cells       runs the cells of a front
    answers     answers all other requests
    messages    events as Jupyter messages
    frames      messages as bytes, between a server and a context's process

A front is what drives a context: the Jupyter kernel, or the worker for the server.
"""
