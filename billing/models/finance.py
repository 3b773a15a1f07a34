"""What people of finance keep for themselves: views of reports, by name."""

from django.db import models
from django.db.models.functions import Lower, Now

from billing.models.guards import note_changes


class SavedView(models.Model):
    """A report with its filters, under a name that everybody sees. Times in UTC."""

    name = models.TextField()
    report = models.TextField()
    query = models.TextField(help_text="The address of the view, after its question mark.")
    saved_by = models.TextField()
    saved_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_saved_views"
        ordering = [Lower("name")]
        default_permissions = ()
        constraints = [models.UniqueConstraint(Lower("name"), name="billing_saved_views_name")]
        triggers = note_changes()

    def __str__(self) -> str:
        return self.name
