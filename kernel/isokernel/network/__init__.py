"""The network for contexts, by whoever holds their capabilities.

    provider      answers the calls `net.open`, `net.write`, `net.read`, `net.close`
    exchange      one request and its response, in pieces both ways
    connections   to the very address that was decided
    targets       URLs, methods and headers as they are decided and sent
    addresses     which network an address belongs to
    decoding      `Content-Encoding`, with no more in memory than was asked for
    secrets       put into requests, taken out of responses
    settings      the limits

Redirects are followed by the context's side, so each is a request of its own here, and
decided as one.
"""
