"""The form of making a backup."""

from django import forms

from billing.admin.forms import OperationForm, TargetsField
from billing.operations.backups import WHAT, MakeBackup


class MakeBackupForm(OperationForm):
    operation = MakeBackup
    intro = (
        "Has the worker dump the database into the folder of backups, restore it into a scratch"
        " database, and compare the two. It changes no row; backups that are too old are deleted."
    )
    usual = {"reason": "Started by hand", "reason_code": "data_repair"}

    target = TargetsField(widget=forms.HiddenInput, initial=WHAT)
