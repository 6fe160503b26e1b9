"""What the codes mean that stand on matches and outgoing work, apart from Salesforce's refusals: title, cause, cure.

Salesforce's own refusals are explained in crm/channels/salesforce/errors.py. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Help = Mapping[str, tuple[str, str, str]]

# Why a customer has no Account; the title is what the list of unmatched customers says
UNMATCHED: Final[Help] = {
    "account_not_read": (
        "The Account id in its metadata is being looked up",
        "The customer's metadata names an Account that we have not read yet.",
        "Wait a minute. If it stays, look at the connection to Salesforce.",
    ),
    "accounts_being_read": (
        "Salesforce is still being read",
        "Not all Accounts and Contacts are known yet: another Contact with the customer's e-mail may still come.",
        "Nothing to do: it is tried once all is read. The Salesforce page says how far that is.",
    ),
    "no_account_for_id": (
        "The Account id in its metadata is not in Salesforce",
        "The metadata names an Account that is not there, or that the integration user may not see.",
        "Correct salesforce_account_id in Stripe, share the Account with the integration user, or match by hand.",
    ),
    "malformed_id": (
        "The Account id in its metadata is not a Salesforce id",
        "An Account's id has 15 or 18 letters and digits and starts with 001.",
        "Correct salesforce_account_id in Stripe, or match by hand.",
    ),
    "deleted_account": (
        "Its Account was deleted in Salesforce",
        "The Account that the customer belongs to was deleted, and merged into no other.",
        "Undelete it, or match the customer to another Account.",
    ),
    "several_contacts": (
        "Contacts of several Accounts have its e-mail",
        "Two Accounts fit equally, and no match is guessed.",
        "Choose one on the Unmatched page; the evidence stands beside each.",
    ),
    "several_candidates": (
        "Several Accounts fit its evidence",
        "More than one Account stands near the points from which a match is made alone, and no match is guessed.",
        "Choose one on the Unmatched page. Where two are the same company, merge them in Salesforce.",
    ),
    "evidence_against": (
        "A Contact has its e-mail, and something speaks against it",
        "Names that have nothing in common, another country, or several customers that use one e-mail: as when an "
        "agency or a holding pays for others.",
        "Look at the evidence on the Unmatched page and decide. A domain that many share can be blocked in the rules.",
    ),
    "contact_without_account": (
        "The Contact with its e-mail has no Account",
        "Salesforce knows the person and not the company.",
        "Give the Contact an Account in Salesforce, or match by hand.",
    ),
    "no_email": (
        "It has no e-mail and no Account id",
        "There is nothing to find an Account by.",
        "Add an e-mail or salesforce_account_id to the customer in Stripe, or match by hand.",
    ),
    "no_contact": (
        "No Contact has its e-mail",
        "Salesforce has no Contact with the customer's e-mail: often the Account is made after the customer.",
        "Nothing to do where the Account is still to be made: new Accounts and Contacts are tried by themselves. "
        "Else match by hand.",
    ),
    "no_org": (
        "Salesforce is not connected",
        "Without a connection there are no Accounts to match with.",
        "Connect Salesforce. What is held goes out once customers are matched.",
    ),
    "undone": (
        "A person undid its match",
        "What was undone is not matched again by itself.",
        "Match the customer by hand.",
    ),
    "ignored": (
        "An Account fits, and a person left the customer out",
        "Whom a person ignores is not matched by itself, not even when an Account that fits appears.",
        "Match the customer by hand, or ignore it no more: then it is tried again.",
    ),
}

# Why outgoing work is held, left out or waits
WORK: Final[Help] = {
    "unmatched": (
        "Account made after the customer",
        "The customer has no Account in Salesforce yet, so what Salesforce would be told about it is held. "
        "Usual where sales makes the Account after the first payment.",
        "Make the Account (with a Contact of the customer's e-mail) or match the customer on the Unmatched page: what "
        "is held is then released by itself, in its newest state.",
    ),
    "ignored": (
        "The customer is ignored",
        "A person said that this customer needs no Account, so what Salesforce would be told about it is held.",
        "Nothing to do. Once the customer is matched, or ignored no more, it goes like any other.",
    ),
    "customers_wait": (
        "Customers wait too long for their Account",
        "A paying customer waits longer than the days that are set, or more MRR waits than the limit.",
        "Match them on the Unmatched page, or set aside whom nobody expects an Account for. The limits stand under "
        "Salesforce, Rules.",
    ),
    "needs_a_person": (
        "A person must choose",
        "More than one answer is possible and none is guessed.",
        "Open the record on the Salesforce sync page and choose.",
    ),
    "held_by_person": (
        "Held by a person",
        "Somebody keeps it back.",
        "Retry it on the Salesforce sync page: it goes in its newest state.",
    ),
    "skipped": (
        "Skipped by a person",
        "Somebody left it out.",
        "Nothing to do: it comes back when its value changes again, or by a retry.",
    ),
    "send_again": (
        "It changed while it was sent",
        "A newer value came while the older one was on its way.",
        "Nothing to do: it goes again at once.",
    ),
    "newer": ("A newer message tells more", "A newer message of its kind stands instead.", "Nothing to do."),
    "taken_back": (
        "Taken back",
        "What it would tell of did not hold: the movement was reversed or the invoice is not paid after all.",
        "Nothing to do.",
    ),
    "withdrawn": (
        "Withdrawn",
        "It was told on an Account that turned out to be the wrong one: the match was undone, and it was closed or "
        "deleted there.",
        "Nothing to do: once the customer is matched anew it is told again, unless it is older than 72 hours.",
    ),
    "not_as_it_was": (
        "The Opportunity is not quite as it was",
        "The match was undone and the Opportunity let go; fields that somebody changed since, or of which nobody kept "
        "what they said before, stay as they are.",
        "Look at the Opportunity in Salesforce and set what the customer's page names.",
    ),
    "no_receiver": (
        "Nobody to tell",
        "The address or channel for alerts was taken out of the settings.",
        "Nothing to do.",
    ),
    "stopped_again": (
        "It stopped again soon after",
        "Calls came free and were used up again before people were told.",
        "Nothing to do: they are told once sending goes on for good.",
    ),
    "mail_refused": (
        "The mail server refused the addresses",
        "An address for alerts or summaries is wrong, or the server may not send to it.",
        "Correct the addresses under Salesforce, Rules, or Settings, Summaries, then retry.",
    ),
    "maybe_sent": (
        "It may have arrived",
        "A worker stopped, or the connection ended, while the summary was being sent. It is never sent twice unasked.",
        "Ask a receiver, or look into the channel. Retry where it did not arrive, else leave it.",
    ),
    "mail_unreachable": (
        "The mail server does not take messages",
        "It could not be reached, or did not let us in.",
        "Nothing to do: it is tried again. If it stays, check EMAIL_URL.",
    ),
    "came_back": ("The customer pays again", "There is no loss to tell of any more.", "Nothing to do."),
    "too_old": (
        "Older than 72 hours",
        "People are not told of what is older than three days.",
        "Nothing to do: the figures and records hold it all the same.",
    ),
    "before_live": (
        "Before the connection went live",
        "People are not told of what happened before.",
        "Nothing to do: the figures and records hold it all the same.",
    ),
    "restored": (
        "Perhaps told before the restore",
        "The database was restored from a backup, and people may have been told of this between the backup and then.",
        "Nothing to do: nobody is told twice. The figures and records hold it all the same.",
    ),
    "no_entry": (
        "No such entry",
        "The ledger has no entry of this key.",
        "Run check_ledger: entries are never deleted, so the row is at fault.",
    ),
    "account_gone": (
        "The Account is gone",
        "The Account was deleted, or merged into another that stands instead.",
        "Nothing to do after a merge. After a deletion match the customer anew.",
    ),
    "deleted_there": (
        "Deleted in Salesforce",
        "Somebody deleted the record there and a person here left it so.",
        "Retry it on the Salesforce sync page to have it made again.",
    ),
    "no_outcome": (
        "It is not known what became of it",
        "The program that sends did not say how this piece ended.",
        "Nothing to do: it is tried again. If it stays, look into the log.",
    ),
}

# Why no Opportunity was chosen by itself
OPPORTUNITIES: Final[Help] = {
    "several_subscriptions": (
        "Several subscriptions look for their Opportunity",
        "More than one subscription of the Account began, so none can be told to be this Opportunity's.",
        "Choose on the Unmatched page, tab Opportunities.",
    ),
    "several_won_opportunities": (
        "Several won Opportunities fit",
        "The Account won more than one Opportunity within 60 days.",
        "Choose on the Unmatched page, tab Opportunities.",
    ),
    "several_open_opportunities": (
        "Several open Opportunities fit",
        "The Account has more than one open Opportunity.",
        "Choose on the Unmatched page, tab Opportunities.",
    ),
    "several_opportunities": (
        "Several Opportunities carry the subscription's id",
        "The External ID field is not unique, or somebody copied an Opportunity with it.",
        "Clear Stripe_Subscription_Id__c on all but one, set the field to unique; then retry.",
    ),
    "no_opportunity": (
        "No open Opportunity",
        "The Account has none that is open and none that was won lately.",
        "Choose one, have one made, or let the connection make them by itself.",
    ),
    "opportunity_not_found": (
        "The Opportunity is not there",
        "The one that was chosen, or that the subscription's metadata names, was deleted or is hidden.",
        "Choose another, or correct salesforce_opportunity_id in Stripe.",
    ),
    "opportunity_taken": (
        "The Opportunity belongs to another subscription",
        "It carries another subscription's id.",
        "Choose another, or clear Stripe_Subscription_Id__c there first.",
    ),
    "opportunity_elsewhere": (
        "The Opportunity belongs to another Account",
        "The subscription's metadata names an Opportunity of an Account that the customer is not matched to.",
        "Correct the match or salesforce_opportunity_id in Stripe.",
    ),
}

# Why the connection to Salesforce does not stand
CONNECTION: Final[Help] = {
    "sending_paused": (
        "Sending is paused",
        "Salesforce said that it takes nothing for now, or its limit for the day is near.",
        "Wait: sending goes on by itself. The sync page says until when and how much of the limit is used.",
    ),
    "invalid_grant": (
        "Refresh token dead",
        "Salesforce no longer accepts our sign-in: somebody withdrew it, the user was deactivated, the password or "
        "policy changed, or the token was not used for too long. All writes wait; none is lost.",
        "Sign in again on the Salesforce page with the integration user. Set the app's refresh token policy to 'valid "
        "until revoked', so that it does not end again.",
    ),
    "invalid_client_id": (
        "Salesforce does not know the app",
        "A new app is known everywhere only after some minutes; else the client id is wrong.",
        "Wait ten minutes: it is tried each minute. Then check the client id and connect again.",
    ),
    "redirect_uri_mismatch": (
        "The return address is not listed",
        "The app in Salesforce does not name our callback address.",
        "Copy the callback URL from the Salesforce page into the External Client App, exactly.",
    ),
    "no_refresh_token": (
        "No refresh token was given",
        "The app may not ask for one.",
        "Give the app the scopes api and refresh_token, then sign in again.",
    ),
    "not_connected": (
        "The connection has no secret",
        "Neither a client secret, a key nor a refresh token is stored.",
        "Connect again on the Salesforce page.",
    ),
    "another_org": (
        "The login leads to another org",
        "The sign-in belongs to another org than this connection. A sandbox is an org of its own. Nothing was sent.",
        "Sign in to the org that the connection names, or make a connection to the other.",
    ),
    "my_domain": (
        "Not the org's own address",
        "Client credentials are given out at the org's My Domain address alone.",
        "Leave the login URL empty and give the My Domain address as instance URL.",
    ),
    "bad_key": (
        "The JWT key cannot be used",
        "It is not an RSA private key in PEM form without a password.",
        "Make a key pair, give its certificate to the app and connect with the private key.",
    ),
    "token_renewal": (
        "The access token is being renewed",
        "Another worker asks for a new token and has not finished.",
        "Nothing to do: it is tried again.",
    ),
    "login_unreachable": (
        "The login host does not answer",
        "Salesforce's login host could not be reached.",
        "Nothing to do: it is tried again. If it stays, check network and proxy.",
    ),
    "not_salesforce": (
        "Not Salesforce's answer",
        "Something answered in Salesforce's place: a proxy's page, or another host.",
        "Check the instance URL and the proxy.",
    ),
    "not_https": ("Not an https address", "Salesforce is only spoken to by https.", "Correct the instance URL."),
    "bad_path": (
        "An address that climbs out of its path",
        "The address would have led elsewhere, so nothing was sent.",
        "Nothing to do. Tell us the record that it happened with.",
    ),
    "no_user": (
        "The integration user is not known",
        "The sign-in did not say which user it acts for.",
        "Connect again, then deploy.",
    ),
    "API_RESERVE_REACHED": (
        "The calls left are kept for others",
        "The org has no more API calls left than the reserve that is kept for people and other programs.",
        "Nothing is lost: sending goes on by itself when calls are free. Lower the reserve, or see which program uses "
        "most of them.",
    ),
}

# What a comparison of the org with what we write found
SETUP: Final[Help] = {
    "not_compared": (
        "The org was not compared",
        "Nobody has looked yet whether the org has the objects, fields and rights that we write with.",
        "Press Check on the Salesforce page.",
    ),
    "object_missing": (
        "An object is not there",
        "Our object is not deployed, or the integration user does not see it.",
        "Deploy on the Salesforce page and assign the permission set MRR Ledger writer.",
    ),
    "object_read_only": (
        "An object may not be written",
        "The integration user may not make or edit records of it.",
        "Give it create and edit access in the permission set MRR Ledger writer.",
    ),
    "field_missing": (
        "A field is not there",
        "The field is not deployed, or hidden from the integration user.",
        "Deploy it, or name the org's own field in the mapping.",
    ),
    "field_hidden": (
        "A field is hidden",
        "The field is there, but field-level security hides it from the integration user.",
        "Give edit access to it in the permission set MRR Ledger writer and assign that.",
    ),
    "field_type": (
        "A field is of another type",
        "What we write does not go into a field of this type.",
        "Map another field, or change its type.",
    ),
    "field_read_only": (
        "A field may not be edited",
        "The integration user may read it and not edit it.",
        "Give edit access in the permission set MRR Ledger writer.",
    ),
    "field_length": ("A field is too short", "Long values would be refused.", "Make the field longer."),
    "field_scale": (
        "A field has too few decimals",
        "Rounded amounts would not add up to the dashboard's sums.",
        "Give the field the decimals that the finding names.",
    ),
    "field_not_unique": (
        "A key field is not unique",
        "Without unique, two writes at once make two records.",
        "Set the field to External ID and unique.",
    ),
    "field_required": (
        "A key field is required",
        "A required key on an object of everybody stops records that people make by hand.",
        "Take 'required' off the field.",
    ),
    "picklist_value": (
        "A picklist lacks our values",
        "The picklist is restricted and would refuse them.",
        "Add the values, or name the org's own words in the mapping.",
    ),
    "required_by_others": (
        "Somebody else's required field",
        "A field on our object is required that we do not fill, so no record can be made.",
        "Make it optional, or give it a default value.",
    ),
    "no_won_stage": (
        "No stage is won",
        "Opportunities cannot be closed as won.",
        "Make an active won stage in Setup, Opportunity, Fields, Stage.",
    ),
    "won_stage": (
        "The won stage is not active any more",
        "The stage that was chosen is gone.",
        "Choose another in the mapping.",
    ),
    "several_won_stages": (
        "Several stages are won",
        "We would use the first.",
        "Choose the right one in the mapping.",
    ),
    "record_type_stage": (
        "A record type lacks the won stage",
        "Its Opportunities would be closed in a stage that its people do not see.",
        "Add the stage to the record type's sales process.",
    ),
    "record_type_unreadable": (
        "A record type's stages cannot be read",
        "The integration user may not read them.",
        "Give it access to the record type, or look by hand whether the won stage is offered.",
    ),
    "owner_inactive": (
        "An Account's owner is not active",
        "Whoever should be told of its customers has left, so Tasks stay with the integration user.",
        "Give the Account an active owner in Salesforce.",
    ),
    "csm_inactive": (
        "An Account's CSM is not active",
        "The lookup of who looks after it names somebody who has left, so Tasks stay with the integration user.",
        "Name an active User in the Account's lookup, or clear it: then its owner counts.",
    ),
    "no_owner": (
        "Nobody looks after an Account",
        "It has neither an owner that we may see nor a CSM, so Tasks stay with the integration user.",
        "Give the Account an active owner in Salesforce.",
    ),
    "currency_inactive": (
        "A currency is not active in the org",
        "The org has several currencies, and not the one that some of our amounts are in: those records are refused.",
        "Activate it in Setup, Manage Currencies, with its conversion rate; then retry what was refused.",
    ),
    "account_currency": (
        "A field of Account shows another currency",
        "A currency field shows our sums, which are in the reporting currency, with the sign of the Account's own.",
        "Map the sums to number fields, or read them as amounts of the reporting currency.",
    ),
    "duplicate_rule": (
        "A duplicate rule is active",
        "Where it blocks edits, it may refuse ours.",
        "Let it skip the integration user, or only report.",
    ),
    "validation_rule": (
        "A validation rule is active",
        "It may refuse our writes.",
        "Let it skip the integration user where it speaks of people's entries.",
    ),
    "rules_unreadable": (
        "Rules cannot be read",
        "The integration user may not read duplicate or validation rules, so one that refuses is seen only then.",
        "Give it 'View Setup and Configuration' to have them named ahead.",
    ),
    "deploy_failed": (
        "The deployment was refused",
        "Salesforce refused it whole; nothing of it stands.",
        "Mend what its words name, then deploy again.",
    ),
    "permission_set_unseen": (
        "The permission set cannot be read",
        "It was deployed, but the integration user does not see it.",
        "Assign it by hand in Setup, Permission Sets.",
    ),
    "not_assigned": (
        "The permission set is not assigned",
        "The integration user may not assign permission sets.",
        "Assign MRR Ledger writer to it in Setup, Permission Sets, Manage Assignments.",
    ),
}

# What Slack answers, by its own codes
SLACK: Final[Help] = {
    "invalid_auth": (
        "Slack does not know the bot",
        "The bot's token is wrong or was withdrawn. Messages wait.",
        "Install the app in Slack again and set SLACK_BOT_TOKEN.",
    ),
    "channel_not_found": (
        "No such Slack channel",
        "The channel was renamed or deleted, or is private and the bot is not in it.",
        "Correct the channel's name in the settings, or invite the bot; then retry.",
    ),
    "not_in_channel": (
        "The bot is not in the channel",
        "Slack lets a bot write only where it is a member.",
        "Invite the bot to the channel, then retry.",
    ),
    "is_archived": (
        "The Slack channel is archived",
        "Nobody can write to it.",
        "Name another channel in the settings, then retry.",
    ),
    "missing_scope": (
        "The bot lacks a scope",
        "The app in Slack may not write messages.",
        "Give it the scope chat:write, install it again, then retry.",
    ),
    "ratelimited": (
        "Too many messages to Slack",
        "Slack takes about one message a second and channel.",
        "Nothing to do: it is tried again.",
    ),
}

# Why a Flow's callback was turned away
CALLBACK: Final[Help] = {
    "unauthorized": (
        "The callback secret is missing or wrong",
        "The Flow sends no secret, or one that was replaced since.",
        "Make a new secret on the Salesforce page and put it into the Named Credential that the Flow uses.",
    ),
    "no_ids": (
        "No id of an Account or a Contact",
        "The callback named no record that matching looks at: ids of Accounts start with 001, of Contacts with 003.",
        "Have the Flow send the id of the record that started it. Until then changes are read every few minutes.",
    ),
}

CODES: Final[Help] = {**UNMATCHED, **WORK, **OPPORTUNITIES, **CONNECTION, **SETUP, **SLACK, **CALLBACK}
