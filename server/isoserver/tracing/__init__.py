"""OpenTelemetry traces of a server: loaded only by one that has `traces` on."""
