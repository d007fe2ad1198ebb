"""Who may ask, what opens to whom, and how often."""
