"""What outlives the server: the database, the data folder and their locks."""
