"""The mirror of Salesforce's Accounts, Contacts and Users, kept by incremental reads: matching asks it, not Salesforce.

`reading` says when and how far is read, `by_bulk` reads what is large, `asking` what is asked of each object, `rows`
what a record becomes, `keeping` what is written and whom it wakes, `naming` reads Accounts by their ids.
"""

from crm.accounts.asking import can_be_asked as can_be_asked
from crm.accounts.naming import read_named as read_named
from crm.accounts.reading import EVERY as EVERY
from crm.accounts.reading import HASTE as HASTE
from crm.accounts.reading import OVERLAP as OVERLAP
from crm.accounts.reading import Mirrored as Mirrored
from crm.accounts.reading import hasten as hasten
from crm.accounts.reading import is_due as is_due
from crm.accounts.reading import refresh as refresh
