"""What the mirror has to remember beside dj-stripe's own tables."""

from django.db import models


class MirrorReference(models.Model):
    """A reference to a Stripe object that is not mirrored yet.

    dj-stripe's tables have real foreign keys, and Stripe sends objects in any order. Where a
    row names a parent that is not there, its nullable column stays NULL and the parent's id is
    kept here; whoever writes the parent fills the column in and deletes this row.
    """

    child_kind = models.TextField(help_text="Stripe's type of the row that refers.")
    child_id = models.TextField()
    field = models.TextField(help_text="The name of dj-stripe's field.")
    parent_id = models.TextField()

    class Meta:
        db_table = "billing_mirror_references"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["child_kind", "child_id", "field"], name="billing_mirror_ref_child"
            )
        ]
        indexes = [models.Index(models.F("parent_id"), name="billing_mirror_ref_parent")]

    def __str__(self) -> str:
        return f"{self.child_kind} {self.child_id}: {self.field} {self.parent_id}"
