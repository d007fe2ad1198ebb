"""isokernel's contexts over HTTP."""
