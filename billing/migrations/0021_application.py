"""What the application needs: its function to claim a lead; since when its tables are ours, too."""

import django.db.models.functions.datetime
from django.db import migrations, models

# The contract of deploy/application.md. It runs with our rights, so that the application's role
# needs none on the ledger; it names no schema but the one that it was made in.
CLAIM_LEAD = """
    DO $make$ BEGIN EXECUTE format($format$
    CREATE FUNCTION claim_lead(user_id text, lead_id text, credits bigint)
    RETURNS TABLE (claim_id bigint, new_balance bigint, is_new boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$I, public, pg_temp AS $claim$
    #variable_conflict use_column
    DECLARE
        held bigint; owing bigint; actor text; announced text;
    BEGIN
        IF coalesce(claim_lead.user_id, '') = '' OR coalesce(claim_lead.lead_id, '') = '' THEN
            RAISE EXCEPTION 'a claim needs a user and a lead'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF claim_lead.credits IS NULL OR claim_lead.credits <= 0 THEN
            RAISE EXCEPTION 'a claim costs at least one credit'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        SELECT c.balance, c.owed INTO held, owing FROM lead_credits c
        WHERE c.user_id = claim_lead.user_id FOR UPDATE;
        SELECT l.id INTO claim_id FROM lead_claims l
        WHERE l.lead_id = claim_lead.lead_id AND l.user_id = claim_lead.user_id
          AND l.status = 'succeeded'
        ORDER BY l.id LIMIT 1;
        IF FOUND THEN
            new_balance := coalesce(held, 0);
            is_new := false;
            RETURN NEXT;
            RETURN;
        END IF;
        IF coalesce(held, 0) < claim_lead.credits THEN
            RAISE EXCEPTION 'user %% has %% credits, and lead %% costs %%', claim_lead.user_id,
                coalesce(held, 0), claim_lead.lead_id, claim_lead.credits
                USING ERRCODE = 'LC001', HINT = 'Nothing was claimed: offer to buy credits.';
        END IF;
        actor := coalesce(current_setting('billing.actor', true), '');
        announced := coalesce(current_setting('billing.entries', true), '');
        PERFORM set_config('billing.actor', 'application', true);
        PERFORM set_config('billing.entries', json_build_array(json_build_object(
            'user_id', claim_lead.user_id, 'delta', -claim_lead.credits, 'owed_delta', 0,
            'balance_after', held - claim_lead.credits, 'owed_after', owing, 'kind', 'claim',
            'reason', 'Lead ' || claim_lead.lead_id))::text, true);
        UPDATE lead_credits AS c SET balance = c.balance - claim_lead.credits, updated_at = now()
        WHERE c.user_id = claim_lead.user_id RETURNING c.balance INTO new_balance;
        PERFORM set_config('billing.entries', announced, true);
        INSERT INTO lead_claims (user_id, lead_id, credits_spent)
        VALUES (claim_lead.user_id, claim_lead.lead_id, claim_lead.credits)
        RETURNING id INTO claim_id;
        PERFORM set_config('billing.actor', actor, true);
        is_new := true;
        RETURN NEXT;
    END $claim$
    $format$, current_schema());
    END $make$;
    REVOKE EXECUTE ON FUNCTION claim_lead(text, text, bigint) FROM PUBLIC;
    COMMENT ON FUNCTION claim_lead(text, text, bigint) IS
        'Takes the credits and records the claim, both or none; the same lead twice, once.'
        ' SQLSTATE LC001: too few credits.';
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0020_access")]

    operations = [
        migrations.AlterField(
            model_name="creditentry",
            name="kind",
            field=models.TextField(
                choices=[
                    ("pack", "Credit pack"),
                    ("subscription", "Subscription"),
                    ("refund", "Refund"),
                    ("refund_failed", "Refund failed"),
                    ("dispute", "Dispute"),
                    ("dispute_won", "Dispute reversed"),
                    ("grant", "Granted by hand"),
                    ("correction", "Correction"),
                    ("claim", "Lead claim"),
                    ("sql", "Raw SQL"),
                    ("opening", "Opening balance"),
                ]
            ),
        ),
        migrations.CreateModel(
            name="Adoption",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "adopted_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "tables",
                    models.JSONField(
                        db_default=models.Value([], models.JSONField()), default=list
                    ),
                ),
            ],
            options={
                "db_table": "billing_adoption",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="billing_adoption_once"
                    )
                ],
            },
        ),
        migrations.RunSQL(
            CLAIM_LEAD, "DROP FUNCTION IF EXISTS claim_lead(text, text, bigint)"
        ),
    ]
