"""Decides which Account a customer is: the sure ones alone, the rest by a person, every decision with its evidence."""

from crm.matching.acting import AlreadyMatched as AlreadyMatched
from crm.matching.acting import NotLike as NotLike
from crm.matching.acting import UnknownAccount as UnknownAccount
from crm.matching.acting import UnknownMatch as UnknownMatch
from crm.matching.acting import match as match
from crm.matching.acting import match_like as match_like
from crm.matching.acting import unmatch as unmatch
from crm.matching.following import follow_accounts as follow_accounts
from crm.matching.following import leave_gone_accounts as leave_gone_accounts
from crm.matching.making import NotMade as NotMade
from crm.matching.making import create_account as create_account
from crm.matching.making import look_for_made as look_for_made
from crm.matching.many import Accepted as Accepted
from crm.matching.many import accept_many as accept_many
from crm.matching.setting_aside import IGNORE_REASONS as IGNORE_REASONS
from crm.matching.setting_aside import WAITS as WAITS
from crm.matching.setting_aside import UnknownCustomer as UnknownCustomer
from crm.matching.setting_aside import UnknownReason as UnknownReason
from crm.matching.setting_aside import ignore as ignore
from crm.matching.setting_aside import snooze as snooze
from crm.matching.setting_aside import unignore as unignore
from crm.matching.setting_aside import wait_for as wait_for
from crm.matching.trying import ask_for_named as ask_for_named
from crm.matching.trying import keep_up as keep_up
from crm.matching.trying import match_customers as match_customers
from crm.matching.trying import match_waiting as match_waiting
