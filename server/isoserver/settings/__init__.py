"""Every setting of the server, with its only default."""
