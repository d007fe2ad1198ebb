"""Several servers on one database: who serves, who owns what, what is fenced off."""
