"""The words of the workbench: states in the queue, evidence in chips, what to do."""

from __future__ import annotations

KINDS = {
    "metadata_id": "Named in metadata",
    "contact_email": "Contact's e-mail equal",
    "website_domain": "Domain equal",
    "contact_domain": "Contacts at its domain",
    "company_name": "Name agrees",
    "phone": "Phone equal",
    "postal_code": "Postcode equal",
    "country": "Country equal",
    "same_customers": "Same domain's customers there",
    "same_family": "Same family's customers there",
    "other_country": "Country differs",
    "other_website": "Website differs",
    "other_legal_form": "Legal form differs",
    "other_customers": "Others' customers there",
    "unlike_name": "Name differs",
    "other_name": "Another company's name",
    "other_part": "Another part of the company",
    "shared_email": "E-mail shared by several",
    "name_elsewhere": "Name fits another Account",
    "searched": "Found by your search",
    "like_customer": "Like another customer",
    "made_account": "Made for it",
    "merged_account": "Account merged",
}
STATES = {  # reason: tone, glyph, words in the queue
    "no_account_for_id": ("warn", "alert-triangle", "Id unknown"),
    "malformed_id": ("warn", "alert-triangle", "Id malformed"),
    "deleted_account": ("warn", "trash", "Deleted"),
    "several_contacts": ("warn", "git-branch", "Several fit"),
    "several_candidates": ("warn", "git-branch", "Several fit"),
    "evidence_against": ("warn", "alert-triangle", "In doubt"),
    "contact_without_account": ("n", "user", "Contact alone"),
    "no_email": ("n", "mail", "No e-mail"),
    "no_contact": ("n", "search", "No Contact"),
    "no_org": ("n", "plug-off", "No Salesforce"),
    "undone": ("n", "arrow-back-up", "Undone"),
    "ignored": ("n", "circle-minus", "Ignored"),
}
OTHER_STATE = ("n", "search", "Waits")
ADVICE = {
    "no_account_for_id": "Put the right id into the customer's metadata in Stripe, or search the Account below.",
    "malformed_id": "Correct the metadata salesforce_account_id in Stripe, or search the Account below.",
    "deleted_account": "Restore the Account in Salesforce, or search the one that took its place.",
    "several_contacts": "Choose one; nothing is guessed.",
    "several_candidates": "Choose one; nothing is guessed.",
    "evidence_against": "Look at what speaks against it, and decide.",
    "contact_without_account": "Give the Contact an Account in Salesforce, or search the Account below.",
    "no_email": "Search the Account by name below.",
    "no_contact": "Add the e-mail to a Contact in Salesforce, or search the Account below.",
    "no_org": "Connect Salesforce first: manage.py connect_salesforce.",
    "undone": "A person undid its match. Choose again.",
}
