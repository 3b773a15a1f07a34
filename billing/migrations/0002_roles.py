"""The roles: support, finance and engineer (billing.permissions)."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

from billing.permissions import ROLES


def create_roles(apps, schema_editor):
    # Permissions are otherwise made after all migrations, too late for the roles.
    app_config = apps.get_app_config("billing")
    app_config.models_module = True
    create_permissions(app_config, apps=apps, verbosity=0)
    app_config.models_module = None

    group_model = apps.get_model("auth", "Group")
    permission_model = apps.get_model("auth", "Permission")
    for role, permissions in ROLES.items():
        group, _ = group_model.objects.get_or_create(name=role)
        codenames = [permission.removeprefix("billing.") for permission in permissions]
        group.permissions.add(
            *permission_model.objects.filter(
                content_type__app_label="billing", codename__in=codenames
            )
        )


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(create_roles, migrations.RunPython.noop)]
