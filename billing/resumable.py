"""Steps of migrations that may be killed and run again."""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently


class AddIndexResumably(AddIndexConcurrently):
    """Makes an index beside those who write. One that a killed migration has finished is kept, one
    that it left half made is dropped first: PostgreSQL keeps it as invalid, and uses it for nothing
    (its manual, Building Indexes Concurrently)."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
                [self.index.name],
            )
            found = cursor.fetchone()
        if found == (True,):
            return
        if found:
            schema_editor.execute(f"DROP INDEX CONCURRENTLY {self.index.name}", params=None)
        super().database_forwards(app_label, schema_editor, from_state, to_state)
