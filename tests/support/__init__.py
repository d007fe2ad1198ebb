"""What tests share that is no fixture; the conftests make fixtures of it.

waiting         how long a test waits, and the one `wait_for`
server, client  `isokernel serve` in a process of its own, a client of its HTTP API
starts          starts `isokernel` without importing all of it again
agents          clients of the MCP server
tasks, tools    a server whose tasks have tools; tools without a server around them
contexts        a server's contexts, without the server
heaps           heaps as files
workspaces      a server with two workspaces, and what one of them owns
issuer          an authorization server
services        services with an OpenAPI document and with GraphQL, for tools to call
postgresql      a PostgreSQL server
local_contexts  a context in the test's own process
workers         a client of a context's process
isolates, web   V8 with a small host, below the context
kernels         a Jupyter kernel and its client, which checks each message by `messages`
lab             JupyterLab and a notebook in a browser
leaks           what the test's own process holds
programs        what tests start as programs of their own
"""
