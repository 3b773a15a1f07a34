"""What happens to objects, and the events that tell of it.

Every function takes a `Work`: requests, stories and the world's history all live through the same
code.
"""
