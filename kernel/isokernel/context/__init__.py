"""The REPL: one cell in, a stream of events out; the same for every front."""
