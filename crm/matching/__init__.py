"""Decides which Account a customer is: the sure ones alone, the rest by a person, every decision with its evidence."""

from crm.matching.acting import AlreadyMatched as AlreadyMatched
from crm.matching.acting import UnknownAccount as UnknownAccount
from crm.matching.acting import UnknownCustomer as UnknownCustomer
from crm.matching.acting import UnknownMatch as UnknownMatch
from crm.matching.acting import match as match
from crm.matching.acting import snooze as snooze
from crm.matching.acting import unmatch as unmatch
from crm.matching.following import follow_accounts as follow_accounts
from crm.matching.following import leave_gone_accounts as leave_gone_accounts
from crm.matching.trying import ask_for_named as ask_for_named
from crm.matching.trying import keep_up as keep_up
from crm.matching.trying import match_customers as match_customers
from crm.matching.trying import match_waiting as match_waiting
