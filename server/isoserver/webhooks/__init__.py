"""Webhooks: telling others, by a signed request, that a run has ended."""
