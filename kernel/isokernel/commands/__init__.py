"""What the command line does without a server: doctor, run."""
