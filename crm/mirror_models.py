"""Tables of the mirror of Salesforce beside Accounts and Contacts: its Users, and how far each object is read."""

from __future__ import annotations

from django.db import models
from django.db.models import UniqueConstraint


class SalesforceUser(models.Model):
    """A User who may own Accounts, with its manager: whom Tasks are given to, and who hears of what."""

    org = models.ForeignKey("crm.SalesforceOrg", on_delete=models.PROTECT, related_name="users")
    salesforce_id = models.CharField(max_length=18)
    name = models.CharField(max_length=255, blank=True)
    email = models.CharField(max_length=255, blank=True)
    manager_id = models.CharField(max_length=18, blank=True)
    is_active = models.BooleanField(default=False)
    modified_at = models.DateTimeField(null=True)
    forgotten_at = models.DateTimeField(null=True, help_text="set = a forgotten person's: name and e-mail are not kept")

    class Meta:
        verbose_name = "Salesforce user"
        constraints = [UniqueConstraint(fields=["org", "salesforce_id"], name="a_user_is_mirrored_once")]

    def __str__(self) -> str:
        return self.salesforce_id


class MirrorRead(models.Model):
    """The reading of one object: how far it is, so that another worker can carry on where this one stopped."""

    org = models.ForeignKey("crm.SalesforceOrg", on_delete=models.CASCADE, related_name="mirror_reads")
    sobject = models.CharField(max_length=40)
    since = models.DateTimeField(null=True, help_text="what changed from then on is asked for; null = everything")
    began_at = models.DateTimeField()
    by_bulk = models.BooleanField(null=True, help_text="null = the first page has not said how many there are")
    job_id = models.CharField(max_length=18, blank=True, help_text="of the Bulk query job")
    locator = models.CharField(max_length=200, blank=True, help_text="of the next page or part; empty = the first")
    total = models.PositiveIntegerField(null=True)
    kept = models.PositiveIntegerField(default=0)
    ended_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=80, blank=True, help_text="why Salesforce does not let us read it")

    class Meta:
        verbose_name = "reading of the mirror"
        verbose_name_plural = "readings of the mirror"
        constraints = [UniqueConstraint(fields=["org", "sobject"], name="an_object_is_read_once_at_a_time")]

    def __str__(self) -> str:
        return f"{self.sobject} {self.kept} of {self.total}"


class WaitingKey(models.Model):
    """What news must share with a waiting customer to concern it, as a number: an e-mail, a domain, a name, an id."""

    unmatched = models.ForeignKey("crm.Unmatched", on_delete=models.CASCADE, related_name="keys")
    key = models.BigIntegerField(db_index=True)

    class Meta:
        verbose_name = "key of a waiting customer"
        verbose_name_plural = "keys of waiting customers"
        constraints = [UniqueConstraint(fields=["unmatched", "key"], name="a_key_wakes_a_customer_once")]

    def __str__(self) -> str:
        return f"{self.unmatched_id}: {self.key}"
