"""The server's page for people, under `/ui`: HTML of what the API answers as JSON."""
