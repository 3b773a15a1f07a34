"""The permissions of those who look after access, and their role."""

from importlib import import_module

from django.db import migrations


create_roles = import_module("billing.migrations.0002_roles").create_roles


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0019_privacy'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='operationrecord',
            options={'default_permissions': ('view',), 'ordering': ['-created_at', '-id'], 'permissions': [('grant_purchase', 'Can grant a purchase what it is worth'), ('take_back_credits', 'Can take back a grant or a correction'), ('refund_claim', 'Can give back the credits of a failed claim'), ('resend_invoice', 'Can send an invoice again'), ('mark_invoice_paid', 'Can mark an invoice as paid elsewhere'), ('pay_invoice', 'Can retry the payment of an invoice'), ('void_invoice', 'Can void an invoice'), ('record_subscription', 'Can record a subscription from Stripe'), ('cancel_at_period_end', 'Can cancel a subscription at the end of its period'), ('override_status', "Can set a subscription's status by hand"), ('end_override', 'Can end a status override'), ('create_portal_link', 'Can create a link to the billing portal'), ('create_checkout_link', 'Can create a link to checkout'), ('attribute_payment', 'Can say whose a payment is'), ('merge_customers', 'Can merge two customers of one person'), ('erase_customer', 'Can erase what is stored about a person'), ('add_note_to_customer', 'Can add a note to a customer'), ('withdraw_note', 'Can withdraw a note'), ('tie_out_balance', 'Can bring a balance and its ledger together'), ('create_billing_link', "Can create a link to the customer's own billing page"), ('take_finding', 'Can take a finding on, or hand it to somebody'), ('snooze_finding', 'Can put a finding off'), ('accept_finding', 'Can accept a finding as it is'), ('reopen_finding', 'Can open a finding again'), ('fix_finding', 'Can run what a finding recommends'), ('reconcile', 'Can start a reconciliation'), ('sign_off_run', 'Can sign a reconciliation off'), ('open_incident', 'Can open an incident'), ('hand_over_incident', 'Can hand an incident over'), ('close_incident', 'Can close an incident'), ('note_incident', 'Can write a note into an incident'), ('tell_of_incident', 'Can tell others of an incident'), ('start_recovery', 'Can recover what an outage or a restore lost'), ('make_backup', 'Can make a backup of the database'), ('assess_database', 'Can look whether the database is whole'), ('check_month', 'Can check a month against Stripe'), ('sign_month', 'Can sign a month'), ('review_month', 'Can review a month that somebody signed, and close it'), ('reopen_month', 'Can open a closed month again'), ('change_rights', "Can change somebody's rights, and make accounts"), ('switch_off_account', 'Can switch an account off'), ('switch_on_account', 'Can switch an account on again'), ('reset_second_factor', "Can take away somebody's second factor"), ('approve_operation', 'Can approve what others ask for'), ('view_finance', 'Can view the reports of finance'), ('view_access', 'Can view accounts, their rights and their log-ins')], 'verbose_name': 'operation'},
        ),
        migrations.RunPython(create_roles, migrations.RunPython.noop),
    ]
