"""`manage.py drill`: life goes on while things break, is recovered, and compared with what is true.

Everything happens in a scratch environment: a PostgreSQL server, a Stripe sandbox, a web server
and a worker of the drill's own, in a temporary folder. The configured database and Stripe account
are never touched.

    stand       the back office that is broken, and its sandbox
    life        what customers and operators do, and what only they know of it (model)
    scenarios   what is broken
    engineer    what an engineer does then: the product's own commands, and nothing else
    judge       what must be true in the end, and what the product must have said
"""
