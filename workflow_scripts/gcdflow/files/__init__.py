"""Writing, reading, checking and locking of the files of all stages."""
