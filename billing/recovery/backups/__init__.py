"""Backups of the database: made, proved by restoring them, kept for a while, and restored."""
