"""What outlives the server: the database, the data folder, their lock, retention."""
