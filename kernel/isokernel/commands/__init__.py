"""What the command line does without a server: install, doctor, run."""
