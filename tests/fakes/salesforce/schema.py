"""What the fake org is made of: objects and fields as `describe` tells them, with and without our package."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

TEXTS = {"string", "textarea", "picklist", "email", "url", "phone"}
NUMBERS = {"double", "currency", "percent", "int"}


@dataclass
class Field:
    """One field. `length` counts characters; `precision` all digits and `scale` those after the point."""

    name: str
    type: str = "string"
    length: int = 0
    precision: int = 0
    scale: int = 0
    required: bool = False
    unique: bool = False
    external_id: bool = False
    createable: bool = True
    updateable: bool = True
    filterable: bool = True
    default: Any = None
    values: tuple[str, ...] = ()
    restricted: bool = False
    references: tuple[str, ...] = ()
    hidden: bool = False
    absent: bool = False  # kept for our own sake: Salesforce's object has no such field
    definition: dict[str, Any] = field(default_factory=dict)  # as it was deployed

    @property
    def label(self) -> str:
        return self.name.removesuffix("__c").replace("_", " ")

    @property
    def relationship(self) -> str | None:
        """The name that follows the reference in SOQL: Account for AccountId, Account__r for Account__c."""
        if not self.references:
            return None
        return f"{self.name[:-3]}__r" if self.name.endswith("__c") else self.name.removesuffix("Id")

    def described(self) -> dict[str, Any]:
        picklist = [{"active": True, "defaultValue": v == self.default, "label": v, "value": v} for v in self.values]
        return {
            "name": self.name, "label": self.label, "type": self.type, "length": self.length,
            "byteLength": self.length * 3, "precision": self.precision, "scale": self.scale, "digits": 0,
            "unique": self.unique, "externalId": self.external_id, "idLookup": self.external_id or self.name == "Id",
            "caseSensitive": False, "createable": self.createable, "updateable": self.updateable,
            "nillable": not self.required and self.type != "boolean", "custom": self.name.endswith("__c"),
            "defaultedOnCreate": self.default is not None or self.type == "boolean", "defaultValue": self.default,
            "filterable": self.filterable, "sortable": self.filterable, "permissionable": not self.required,
            "picklistValues": picklist, "restrictedPicklist": self.restricted, "calculated": False,
            "referenceTo": list(self.references), "relationshipName": self.relationship, "deprecatedAndHidden": False,
            "autoNumber": False, "soapType": "xsd:string",
        }  # fmt: skip


@dataclass
class RecordType:
    """A record type; `values` are the stages it offers, None for all."""

    id: str
    name: str
    values: tuple[str, ...] | None = None
    available: bool = True
    default: bool = False
    master: bool = False

    def described(self) -> dict[str, Any]:
        return {
            "recordTypeId": self.id, "name": self.name, "developerName": self.name.replace(" ", "_"), "active": True,
            "available": self.available, "defaultRecordTypeMapping": self.default, "master": self.master,
        }  # fmt: skip


MASTER = RecordType("012000000000000AAA", "Master", default=True, master=True)


@dataclass
class SObject:
    """One object and its fields by name; `hidden` is an object the integration user may not see."""

    name: str
    prefix: str
    fields: dict[str, Field] = field(default_factory=dict)
    writable: bool = True
    hidden: bool = False
    record_types: list[RecordType] = field(default_factory=lambda: [MASTER])
    definition: dict[str, Any] = field(default_factory=dict)

    def visible(self) -> list[Field]:
        return [one for one in self.fields.values() if not (one.hidden or one.absent)]

    def find(self, name: str) -> Field | None:
        """A visible field, by its name in any case."""
        one = self.fields.get(name)
        if one is None:
            one = next((other for other in self.fields.values() if other.name.lower() == name.lower()), None)
        return one if one is not None and not (one.hidden or one.absent) else None

    def related(self, name: str) -> Field | None:
        """The reference that a relationship name follows."""
        return next((one for one in self.visible() if (one.relationship or "").lower() == name.lower()), None)

    def described(self) -> dict[str, Any]:
        record_types = [one.described() for one in self.record_types]
        return {
            **self.summary(),
            "fields": [one.described() for one in self.visible()],
            "recordTypeInfos": record_types,
        }

    def summary(self) -> dict[str, Any]:
        return {
            "name": self.name, "label": self.name.removesuffix("__c").replace("_", " "), "keyPrefix": self.prefix,
            "custom": self.name.endswith("__c"), "createable": self.writable, "updateable": self.writable,
            "deletable": self.writable, "queryable": True, "retrieveable": True, "searchable": True,
            "mergeable": self.name in ("Account", "Contact"),
        }  # fmt: skip


def standard_objects() -> dict[str, SObject]:
    """A plain org: what Salesforce brings, none of our fields."""
    return {name: _sobject(name, prefix, fields) for name, prefix, fields in copy.deepcopy(STANDARD)}


def add_package(objects: dict[str, SObject]) -> None:
    """Deploy our object and fields, visible to the integration user (its permission set is assigned)."""
    for name, fields in copy.deepcopy(PACKAGE_FIELDS).items():
        for one in fields:
            objects[name].fields[one.name] = one
    objects["MRR_Schedule__c"] = _sobject("MRR_Schedule__c", "a00", copy.deepcopy(MRR_SCHEDULE))


def new_object(name: str) -> SObject:
    """An object as a deployment makes it, before its fields."""
    return _sobject(name, "a00", [text("Name", 80, **READ_ONLY), reference("OwnerId", "User")])


def tooling_objects() -> dict[str, SObject]:
    """What only the Tooling API knows."""
    entity = reference("EntityDefinitionId", "EntityDefinition")
    return {
        name: _sobject(name, prefix, copy.deepcopy(fields))
        for name, prefix, fields in (
            ("EntityDefinition", "4ie", [text("QualifiedApiName", 80)]),
            ("CustomField", "00N", [text("DeveloperName", 80), text("NamespacePrefix", 15), entity]),
            ("ValidationRule", "03d", [
                text("ValidationName", 80), Field("Active", "boolean"), text("ErrorMessage", 255),
                text("ErrorDisplayField", 80), entity,
            ]),
        )
    }  # fmt: skip


def text(name: str, length: int = 255, **more: Any) -> Field:
    return Field(name, "string", length=length, **more)


def long_text(name: str, length: int = 32000) -> Field:
    return Field(name, "textarea", length=length, filterable=False)


def number(name: str, precision: int = 18, scale: int = 0, **more: Any) -> Field:
    return Field(name, more.pop("type", "double"), precision=precision, scale=scale, **more)


def picklist(name: str, *values: str, **more: Any) -> Field:
    return Field(name, "picklist", length=255, values=values, **more)


def reference(name: str, *to: str, **more: Any) -> Field:
    return Field(name, "reference", length=18, references=to, **more)


NEVER_DELETED = ("User", "Organization", "OpportunityStage")


def _sobject(name: str, prefix: str, fields: list[Field]) -> SObject:
    system = [
        Field("Id", "id", length=18, createable=False, updateable=False),
        Field("IsDeleted", "boolean", createable=False, updateable=False, absent=name in NEVER_DELETED),
        Field("CreatedDate", "datetime", createable=False, updateable=False),
        reference("CreatedById", "User", createable=False, updateable=False),
        Field("LastModifiedDate", "datetime", createable=False, updateable=False),
        reference("LastModifiedById", "User", createable=False, updateable=False),
        Field("SystemModstamp", "datetime", createable=False, updateable=False),
    ]
    writable = name not in ("Organization", "OpportunityStage", "User", "PermissionSet", "DuplicateRule")
    return SObject(name, prefix, {one.name: one for one in [*system, *fields]}, writable=writable)


READ_ONLY: dict[str, Any] = {"createable": False, "updateable": False}
OWNER = reference("OwnerId", "User")

STANDARD: list[tuple[str, str, list[Field]]] = [
    ("Account", "001", [
        text("Name", 255, required=True), Field("Website", "url", length=255), Field("Phone", "phone", length=40),
        text("AccountNumber", 40), picklist("Type", "Prospect", "Customer", "Other"), picklist("Industry"),
        number("AnnualRevenue", 18, 0, type="currency"), number("NumberOfEmployees", 8, 0, type="int"),
        long_text("Description"), text("BillingStreet", 255), text("BillingCity", 40), text("BillingState", 80),
        text("BillingPostalCode", 20), text("BillingCountry", 80), reference("ParentId", "Account"), OWNER,
        reference("MasterRecordId", "Account", **READ_ONLY), Field("LastActivityDate", "date", **READ_ONLY),
    ]),
    ("Contact", "003", [
        text("LastName", 80, required=True), text("FirstName", 40), text("Name", 121, **READ_ONLY),
        Field("Email", "email", length=80), Field("Phone", "phone", length=40), text("Title", 128),
        reference("AccountId", "Account"), OWNER, reference("MasterRecordId", "Contact", **READ_ONLY),
        Field("LastActivityDate", "date", **READ_ONLY),
    ]),
    ("Opportunity", "006", [
        text("Name", 120, required=True), picklist("StageName", required=True),
        Field("CloseDate", "date", required=True),
        number("Amount", 18, 2, type="currency"), number("Probability", 3, 0, type="percent"),
        reference("AccountId", "Account"), OWNER, picklist("Type", "New Business", "Existing Business"),
        picklist("LeadSource"), text("NextStep", 255), long_text("Description"),
        Field("IsClosed", "boolean", **READ_ONLY), Field("IsWon", "boolean", **READ_ONLY),
        Field("HasOpportunityLineItem", "boolean", **READ_ONLY),
        picklist("ForecastCategoryName", "Pipeline", "Best Case", "Commit", "Omitted", "Closed"),
    ]),
    ("Task", "00T", [
        Field("Subject", "picklist", length=255), Field("ActivityDate", "date"), long_text("Description"),
        picklist("Status", "Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred",
                 required=True, default="Not Started"),
        picklist("Priority", "High", "Normal", "Low", required=True, default="Normal"),
        reference("WhoId", "Contact"), reference("WhatId", "Account", "Opportunity", "MRR_Schedule__c"), OWNER,
        reference("AccountId", "Account", **READ_ONLY), Field("IsClosed", "boolean", **READ_ONLY),
        picklist("Type", "Call", "Email", "Other"), Field("IsReminderSet", "boolean"),
        Field("ReminderDateTime", "datetime"),
    ]),
    ("FeedItem", "0D5", [
        reference("ParentId", "Account", "Opportunity", "User", "MRR_Schedule__c", required=True, updateable=False),
        Field("Body", "textarea", length=10000, required=True, filterable=False),
        picklist("Type", "TextPost", "LinkPost", default="TextPost"), Field("LinkUrl", "url", length=1000),
        text("Title", 255),
    ]),
    ("OpportunityStage", "01J", [
        text("ApiName"), text("MasterLabel"), Field("IsActive", "boolean"), Field("IsClosed", "boolean"),
        Field("IsWon", "boolean"), number("SortOrder", 9, 0, type="int"),
        number("DefaultProbability", 3, 0, type="percent"), picklist("ForecastCategory"),
    ]),
    ("Organization", "00D", [
        text("Name", 80), Field("IsSandbox", "boolean"), picklist("OrganizationType"), text("InstanceName", 5),
        text("TimeZoneSidKey", 40), text("NamespacePrefix", 15),
    ]),
    ("PermissionSet", "0PS", [text("Name", 80), text("Label", 80), Field("IsOwnedByProfile", "boolean")]),
    ("PermissionSetAssignment", "0Pa", [
        reference("AssigneeId", "User", required=True), reference("PermissionSetId", "PermissionSet", required=True),
    ]),
    ("DuplicateRule", "0Bm", [
        text("DeveloperName", 80), text("MasterLabel", 80), text("SobjectType", 40), Field("IsActive", "boolean"),
    ]),
    ("User", "005", [
        text("Username", 80), text("Name", 121), text("FirstName", 40), text("LastName", 80),
        Field("Email", "email", length=128), Field("IsActive", "boolean", default=True),
        reference("ManagerId", "User"), text("Title", 80), text("UserType", 40), text("TimeZoneSidKey", 40),
    ]),
]  # fmt: skip

PACKAGE_FIELDS: dict[str, list[Field]] = {
    "Account": [
        number("MRR__c", 18, 6), number("ARR__c", 18, 2), number("CMRR__c", 18, 6), text("Billing_Status__c", 80),
        Field("Last_Expansion_Date__c", "date"), Field("Last_Contraction_Date__c", "date"),
        picklist("Payment_Risk__c", "none", "low", "medium", "high", restricted=True),
        number("Churn_Risk_Score__c", 3, 0), long_text("Churn_Risk_Reasons__c", 32768),
        Field("In_Dispute__c", "boolean"), long_text("Stripe_Customer_Ids__c", 32768),
        Field("Last_Payment_Date__c", "date"), number("Last_Payment_Amount__c", 18, 2),
        number("Past_Due_Amount__c", 18, 2), Field("Next_Invoice_Date__c", "date"), number("Ledger_Version__c", 18, 0),
    ],
    "Opportunity": [
        text("Stripe_Subscription_Id__c", unique=True, external_id=True), number("Committed_ARR__c", 18, 2),
    ],
    "Task": [text("Message_Key__c", unique=True, external_id=True)],
}  # fmt: skip

MRR_SCHEDULE: list[Field] = [
    text("Name", 80, **READ_ONLY), text("Ledger_Key__c", required=True, unique=True, external_id=True), OWNER,
    reference("Account__c", "Account"), reference("Opportunity__c", "Opportunity"), text("Type__c", 40),
    text("Reason__c", 80), number("MRR_Delta__c", 18, 6), number("MRR_After__c", 18, 6), number("ARR_Delta__c", 18, 2),
    text("Currency__c", 3), Field("Start_Date__c", "date"), Field("Effective_At__c", "datetime"),
    Field("Posted_At__c", "datetime"), text("Source_Label__c", 255), text("Stripe_Customer_Id__c", 255),
    text("Stripe_Subscription_Id__c", 255), text("Stripe_Event_Id__c", 255), text("Reverses__c", 255),
    number("Policy_Version__c", 18, 0), Field("Detail_Url__c", "url", length=255),
]  # fmt: skip
