"""Finance in the admin: any report as a page, the rows behind its figures, files, saved views."""
