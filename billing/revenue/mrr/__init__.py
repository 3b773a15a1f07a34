"""Monthly recurring revenue: what subscriptions were at every time, and the figures of that.

`states` and `changes` derive the facts, `facts` keeps them, `figures` adds them up, `behind` lists
the rows of a figure, and `report` is what finance sees.
"""
