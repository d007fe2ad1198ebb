"""Jupyter Server's protocol on the contexts: any front can attach to any of them."""
