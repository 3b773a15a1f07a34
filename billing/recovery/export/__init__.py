"""What only we know, written all the time to a place outside the database."""
