"""Moving in beside an application that has the runbook's tables already.

Its tables stay where they are (schema `public`) and keep their columns, their types and their
rows. All that is ours goes into a schema of its own, and there, under the name of each of its
tables, stands a view of it in the shape that our models have. What a view could not show, since
the column is missing, of another type, or holds what ours never does, stands in columns that are
added to the application's table (`mapping`) and kept in step by a trigger. The models' own
triggers hang on the application's tables, so that whatever it writes is recorded.

    catalog    what a table has: columns, indexes, constraints, triggers, rights
    mapping    which column of ours is which of theirs, and what would be added
    obstacles  what is in the way, with the rows concerned
    journal    what was done, so that it can be gone on with and taken back
    altering   the statements that change a table, with short locks
    filling    the added columns of the rows there are, batch by batch
    triggers   what keeps columns in step, and the models' triggers
    opening    one entry of the ledger for each balance
    moving     the migrations, run in our own schema
    applying   all of it in order
    undoing    all of it taken back
    defects    the rows set apart, as findings of reconciliation
"""
