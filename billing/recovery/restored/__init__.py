"""After a restore: what only we knew is put back from the export, and Stripe tells the rest."""
