"""Payments as rows of their own, search by any part of an email or name, the new roles."""

from importlib import import_module

import django.contrib.postgres.indexes
import django.db.models.functions.datetime
import django.db.models.functions.text
import pgtrigger.compiler
import pgtrigger.migrations
from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations, models

create_roles = import_module("billing.migrations.0002_roles").create_roles

# The charges that were mirrored before: billing.projection.accounts.payment_row, in SQL.
FROM_MIRROR = """
    SET LOCAL billing.actor = 'migration';
    INSERT INTO billing_payments (
        stripe_charge_id, stripe_customer_id, payment_intent_id, status, amount,
        amount_refunded, currency, disputed, failure_code, decline_reason, failure_message,
        brand, last4, livemode, created_at)
    SELECT c->>'id',
        coalesce(c->'customer'->>'id', c->>'customer', ''),
        coalesce(c->'payment_intent'->>'id', c->>'payment_intent', ''),
        coalesce(c->>'status', ''), coalesce((c->>'amount')::bigint, 0),
        coalesce((c->>'amount_refunded')::bigint, 0), coalesce(c->>'currency', ''),
        coalesce((c->>'disputed')::bool, false), coalesce(c->>'failure_code', ''),
        coalesce(c->'outcome'->>'reason', ''), coalesce(c->>'failure_message', ''),
        coalesce(m->(m->>'type')->>'brand', m->>'type', ''),
        coalesce(m->(m->>'type')->>'last4', ''), coalesce((c->>'livemode')::bool, false),
        coalesce(to_timestamp((c->>'created')::bigint), now())
    FROM (SELECT stripe_data AS c, stripe_data->'payment_method_details' AS m
          FROM djstripe_charge) charges
    ON CONFLICT DO NOTHING;
    RESET billing.actor
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0004_reasons_roles_and_chain'),
        ('djstripe', '0003_2_11'),
    ]

    operations = [
        TrigramExtension(),
        migrations.CreateModel(
            name='BillingPayment',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('stripe_charge_id', models.TextField(unique=True)),
                ('stripe_customer_id', models.TextField(blank=True, db_default='')),
                ('payment_intent_id', models.TextField(blank=True, db_default='')),
                ('status', models.TextField()),
                ('amount', models.BigIntegerField(db_default=0)),
                ('amount_refunded', models.BigIntegerField(db_default=0)),
                ('currency', models.TextField(blank=True, db_default='')),
                ('disputed', models.BooleanField(db_default=False)),
                ('failure_code', models.TextField(blank=True, db_default='')),
                ('decline_reason', models.TextField(blank=True, db_default='')),
                ('failure_message', models.TextField(blank=True, db_default='')),
                ('brand', models.TextField(blank=True, db_default='')),
                ('last4', models.TextField(blank=True, db_default='')),
                ('livemode', models.BooleanField(db_default=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'verbose_name': 'payment',
                'db_table': 'billing_payments',
                'ordering': ['-created_at', '-id'],
                'default_permissions': ('view',),
            },
        ),
        migrations.AlterModelOptions(
            name='operationrecord',
            options={'default_permissions': ('view',), 'ordering': ['-created_at', '-id'], 'permissions': [('grant_purchase', 'Can grant a purchase what it is worth'), ('take_back_credits', 'Can take back a grant or a correction'), ('refund_claim', 'Can give back the credits of a failed claim'), ('resend_invoice', 'Can send an invoice again'), ('mark_invoice_paid', 'Can mark an invoice as paid elsewhere'), ('pay_invoice', 'Can retry the payment of an invoice'), ('void_invoice', 'Can void an invoice'), ('record_subscription', 'Can record a subscription from Stripe'), ('cancel_at_period_end', 'Can cancel a subscription at the end of its period'), ('override_status', "Can set a subscription's status by hand"), ('end_override', 'Can end a status override'), ('create_portal_link', 'Can create a link to the billing portal'), ('create_checkout_link', 'Can create a link to checkout'), ('attribute_payment', 'Can say whose a payment is'), ('merge_customers', 'Can merge two customers of one person'), ('add_note_to_customer', 'Can add a note to a customer'), ('withdraw_note', 'Can withdraw a note'), ('tie_out_balance', 'Can bring a balance and its ledger together'), ('create_billing_link', "Can create a link to the customer's own billing page"), ('approve_operation', 'Can approve what others ask for')], 'verbose_name': 'operation'},
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='billingcustomer',
            name='audit_insert',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='billingcustomer',
            name='audit_update',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='billingcustomer',
            name='audit_delete',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='billinginvoice',
            name='audit_insert',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='billinginvoice',
            name='audit_update',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='billinginvoice',
            name='audit_delete',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='billingsubscription',
            name='audit_insert',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='billingsubscription',
            name='audit_update',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='billingsubscription',
            name='audit_delete',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='creditprice',
            name='audit_insert',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='creditprice',
            name='audit_update',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='creditprice',
            name='audit_delete',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='leadclaim',
            name='audit_insert',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='leadclaim',
            name='audit_update',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='leadclaim',
            name='audit_delete',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='leadcredits',
            name='audit_insert',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='leadcredits',
            name='audit_update',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='leadcredits',
            name='audit_delete',
        ),
        migrations.AddIndex(
            model_name='billingcustomer',
            index=django.contrib.postgres.indexes.GinIndex(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('email'), 'gin_trgm_ops'), name='billing_customers_email_part'),
        ),
        migrations.AddIndex(
            model_name='billingcustomer',
            index=django.contrib.postgres.indexes.GinIndex(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('name'), 'gin_trgm_ops'), name='billing_customers_name_part'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billingcustomer',
            trigger=pgtrigger.compiler.Trigger(name='audit_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.insert', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(n)->>'user_id', ''),\n            'subscription', to_jsonb(n)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(n)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', NULL::jsonb, 'after', to_jsonb(n)))\n        FROM new_rows n;\n    END IF;\n    RETURN NULL;\n", hash='4f1b0615e59c35247ce972db310cd2ad84a81ab3', level='STATEMENT', operation='INSERT', pgid='pgtrigger_audit_insert_96a48', referencing='REFERENCING NEW TABLE AS new_rows ', table='billing_customers', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billingcustomer',
            trigger=pgtrigger.compiler.Trigger(name='audit_update', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.update', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(coalesce(n, o))->>'user_id', ''),\n            'subscription', to_jsonb(coalesce(n, o))->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(coalesce(n, o))->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', to_jsonb(n)))\n        FROM old_rows o FULL JOIN new_rows n ON o.id = n.id;\n    END IF;\n    RETURN NULL;\n", hash='53fc5ba6abfa7aa2c158c9890bf85a26030b46a2', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_audit_update_f5fcf', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='billing_customers', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billingcustomer',
            trigger=pgtrigger.compiler.Trigger(name='audit_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.delete', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(o)->>'user_id', ''),\n            'subscription', to_jsonb(o)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(o)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', NULL::jsonb))\n        FROM old_rows o;\n    END IF;\n    RETURN NULL;\n", hash='5c00e3a4e84a2d8e71df5ed41c3d19f5b3a056eb', level='STATEMENT', operation='DELETE', pgid='pgtrigger_audit_delete_16a16', referencing='REFERENCING OLD TABLE AS old_rows ', table='billing_customers', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billinginvoice',
            trigger=pgtrigger.compiler.Trigger(name='audit_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.insert', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(n)->>'user_id', ''),\n            'subscription', to_jsonb(n)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(n)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', NULL::jsonb, 'after', to_jsonb(n)))\n        FROM new_rows n;\n    END IF;\n    RETURN NULL;\n", hash='34ac8c6c119777a642456f4d67c1f670cd6d57d8', level='STATEMENT', operation='INSERT', pgid='pgtrigger_audit_insert_403be', referencing='REFERENCING NEW TABLE AS new_rows ', table='billing_invoices', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billinginvoice',
            trigger=pgtrigger.compiler.Trigger(name='audit_update', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.update', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(coalesce(n, o))->>'user_id', ''),\n            'subscription', to_jsonb(coalesce(n, o))->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(coalesce(n, o))->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', to_jsonb(n)))\n        FROM old_rows o FULL JOIN new_rows n ON o.id = n.id;\n    END IF;\n    RETURN NULL;\n", hash='33cbc0cca1271417ebee889ea7b1a0503f8bc15e', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_audit_update_a292a', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='billing_invoices', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billinginvoice',
            trigger=pgtrigger.compiler.Trigger(name='audit_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.delete', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(o)->>'user_id', ''),\n            'subscription', to_jsonb(o)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(o)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', NULL::jsonb))\n        FROM old_rows o;\n    END IF;\n    RETURN NULL;\n", hash='16f71bd1395133b7871123cbd55cc9a13bd12f66', level='STATEMENT', operation='DELETE', pgid='pgtrigger_audit_delete_a734e', referencing='REFERENCING OLD TABLE AS old_rows ', table='billing_invoices', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billingsubscription',
            trigger=pgtrigger.compiler.Trigger(name='audit_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.insert', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(n)->>'user_id', ''),\n            'subscription', to_jsonb(n)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(n)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', NULL::jsonb, 'after', to_jsonb(n)))\n        FROM new_rows n;\n    END IF;\n    RETURN NULL;\n", hash='6307d66e7b3588f6be57bcff21d4cb016a2169ee', level='STATEMENT', operation='INSERT', pgid='pgtrigger_audit_insert_5cf40', referencing='REFERENCING NEW TABLE AS new_rows ', table='billing_subscriptions', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billingsubscription',
            trigger=pgtrigger.compiler.Trigger(name='audit_update', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.update', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(coalesce(n, o))->>'user_id', ''),\n            'subscription', to_jsonb(coalesce(n, o))->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(coalesce(n, o))->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', to_jsonb(n)))\n        FROM old_rows o FULL JOIN new_rows n ON o.id = n.id;\n    END IF;\n    RETURN NULL;\n", hash='9fdde61425ff329f833c0f3879c6de04e2bb41b6', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_audit_update_22377', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='billing_subscriptions', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billingsubscription',
            trigger=pgtrigger.compiler.Trigger(name='audit_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.delete', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(o)->>'user_id', ''),\n            'subscription', to_jsonb(o)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(o)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', NULL::jsonb))\n        FROM old_rows o;\n    END IF;\n    RETURN NULL;\n", hash='cf8c07f573fbac34797026e43a635d7d07ed11e0', level='STATEMENT', operation='DELETE', pgid='pgtrigger_audit_delete_95e4a', referencing='REFERENCING OLD TABLE AS old_rows ', table='billing_subscriptions', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='creditprice',
            trigger=pgtrigger.compiler.Trigger(name='audit_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.insert', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(n)->>'user_id', ''),\n            'subscription', to_jsonb(n)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(n)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', NULL::jsonb, 'after', to_jsonb(n)))\n        FROM new_rows n;\n    END IF;\n    RETURN NULL;\n", hash='7c1a4a759d2f9989058abec0c4153a55b2821670', level='STATEMENT', operation='INSERT', pgid='pgtrigger_audit_insert_9f98a', referencing='REFERENCING NEW TABLE AS new_rows ', table='billing_credit_prices', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='creditprice',
            trigger=pgtrigger.compiler.Trigger(name='audit_update', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.update', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(coalesce(n, o))->>'user_id', ''),\n            'subscription', to_jsonb(coalesce(n, o))->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(coalesce(n, o))->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', to_jsonb(n)))\n        FROM old_rows o FULL JOIN new_rows n ON o.id = n.id;\n    END IF;\n    RETURN NULL;\n", hash='ee628b5b6a5871d9401e3517a3dc9f531f95461c', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_audit_update_37f46', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='billing_credit_prices', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='creditprice',
            trigger=pgtrigger.compiler.Trigger(name='audit_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.delete', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(o)->>'user_id', ''),\n            'subscription', to_jsonb(o)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(o)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', NULL::jsonb))\n        FROM old_rows o;\n    END IF;\n    RETURN NULL;\n", hash='0f2d368cf5d2b2d30f4aa45c970eeed40d0f273f', level='STATEMENT', operation='DELETE', pgid='pgtrigger_audit_delete_5df08', referencing='REFERENCING OLD TABLE AS old_rows ', table='billing_credit_prices', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='leadclaim',
            trigger=pgtrigger.compiler.Trigger(name='audit_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.insert', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(n)->>'user_id', ''),\n            'subscription', to_jsonb(n)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(n)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', NULL::jsonb, 'after', to_jsonb(n)))\n        FROM new_rows n;\n    END IF;\n    RETURN NULL;\n", hash='2069a7882f558f76d883e35e7fd3e71a2ac552c9', level='STATEMENT', operation='INSERT', pgid='pgtrigger_audit_insert_3eb7d', referencing='REFERENCING NEW TABLE AS new_rows ', table='lead_claims', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='leadclaim',
            trigger=pgtrigger.compiler.Trigger(name='audit_update', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.update', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(coalesce(n, o))->>'user_id', ''),\n            'subscription', to_jsonb(coalesce(n, o))->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(coalesce(n, o))->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', to_jsonb(n)))\n        FROM old_rows o FULL JOIN new_rows n ON o.id = n.id;\n    END IF;\n    RETURN NULL;\n", hash='bac6170b5d3f91911df1feef78215867184658ef', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_audit_update_bc535', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='lead_claims', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='leadclaim',
            trigger=pgtrigger.compiler.Trigger(name='audit_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.delete', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(o)->>'user_id', ''),\n            'subscription', to_jsonb(o)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(o)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', NULL::jsonb))\n        FROM old_rows o;\n    END IF;\n    RETURN NULL;\n", hash='28db8b3a516eece25402db4b0da379ac3944b45f', level='STATEMENT', operation='DELETE', pgid='pgtrigger_audit_delete_6ddfc', referencing='REFERENCING OLD TABLE AS old_rows ', table='lead_claims', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='leadcredits',
            trigger=pgtrigger.compiler.Trigger(name='audit_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.insert', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(n)->>'user_id', ''),\n            'subscription', to_jsonb(n)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(n)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', NULL::jsonb, 'after', to_jsonb(n)))\n        FROM new_rows n;\n    END IF;\n    RETURN NULL;\n", hash='97bf4e407570e1e5daecf326a66989e117a60f7a', level='STATEMENT', operation='INSERT', pgid='pgtrigger_audit_insert_d39ca', referencing='REFERENCING NEW TABLE AS new_rows ', table='lead_credits', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='leadcredits',
            trigger=pgtrigger.compiler.Trigger(name='audit_update', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.update', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(coalesce(n, o))->>'user_id', ''),\n            'subscription', to_jsonb(coalesce(n, o))->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(coalesce(n, o))->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', to_jsonb(n)))\n        FROM old_rows o FULL JOIN new_rows n ON o.user_id = n.user_id;\n    END IF;\n    RETURN NULL;\n", hash='150a40b2c9e504af8187df3326ebf0a438d1eb14', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_audit_update_dad41', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='lead_credits', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='leadcredits',
            trigger=pgtrigger.compiler.Trigger(name='audit_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.delete', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(o)->>'user_id', ''),\n            'subscription', to_jsonb(o)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(o)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', NULL::jsonb))\n        FROM old_rows o;\n    END IF;\n    RETURN NULL;\n", hash='5b966ea51a27d4cc010788bb5b6fd51a107fa95d', level='STATEMENT', operation='DELETE', pgid='pgtrigger_audit_delete_0a2ef', referencing='REFERENCING OLD TABLE AS old_rows ', table='lead_credits', when='AFTER')),
        ),
        migrations.AddIndex(
            model_name='billingpayment',
            index=models.Index(models.F('stripe_customer_id'), models.F('created_at'), name='billing_payments_customer'),
        ),
        migrations.AddIndex(
            model_name='billingpayment',
            index=models.Index(models.F('created_at'), models.F('id'), name='billing_payments_created'),
        ),
        migrations.AddIndex(
            model_name='billingpayment',
            index=models.Index(models.F('payment_intent_id'), condition=models.Q(('payment_intent_id', ''), _negated=True), name='billing_payments_intent'),
        ),
        migrations.AddIndex(
            model_name='billingpayment',
            index=models.Index(models.F('last4'), models.F('created_at'), condition=models.Q(('last4', ''), _negated=True), name='billing_payments_last4'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billingpayment',
            trigger=pgtrigger.compiler.Trigger(name='audit_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.insert', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(n)->>'user_id', ''),\n            'subscription', to_jsonb(n)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(n)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', NULL::jsonb, 'after', to_jsonb(n)))\n        FROM new_rows n;\n    END IF;\n    RETURN NULL;\n", hash='5888dca83a710d83bc50d7439659e14fd2df905a', level='STATEMENT', operation='INSERT', pgid='pgtrigger_audit_insert_0722d', referencing='REFERENCING NEW TABLE AS new_rows ', table='billing_payments', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billingpayment',
            trigger=pgtrigger.compiler.Trigger(name='audit_update', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.update', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(coalesce(n, o))->>'user_id', ''),\n            'subscription', to_jsonb(coalesce(n, o))->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(coalesce(n, o))->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', to_jsonb(n)))\n        FROM old_rows o FULL JOIN new_rows n ON o.id = n.id;\n    END IF;\n    RETURN NULL;\n", hash='24a992c9dc5875b60dca7193fe939f4126aa1399', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_audit_update_4cb8f', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='billing_payments', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='billingpayment',
            trigger=pgtrigger.compiler.Trigger(name='audit_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.delete', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(o)->>'user_id', ''),\n            'subscription', to_jsonb(o)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(o)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', NULL::jsonb))\n        FROM old_rows o;\n    END IF;\n    RETURN NULL;\n", hash='4f49dafac437a476914ef31a8ed4d02ff7980a46', level='STATEMENT', operation='DELETE', pgid='pgtrigger_audit_delete_f2bc9', referencing='REFERENCING OLD TABLE AS old_rows ', table='billing_payments', when='AFTER')),
        ),
        migrations.RunSQL(FROM_MIRROR, migrations.RunSQL.noop),
        migrations.RunPython(create_roles, migrations.RunPython.noop),
    ]
