"""The database's roles: who may do what in it, as groups that log-ins are members of.

`wanted` says what each may do, `grants` reads what they may and writes the statements between.
"""
