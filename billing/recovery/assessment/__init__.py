"""Whether the database is whole: one module for each family of checks.

A check only reads, in transactions that may do nothing else, and each stands for itself: what
cannot be read of one table keeps no other check from looking.
"""
