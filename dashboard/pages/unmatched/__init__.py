"""The workbench, where a person says which Account a customer is: evidence, one or two keys a decision, undo."""

from dashboard.pages.unmatched.bulk import accept_many as accept_many
from dashboard.pages.unmatched.bulk import bulk as bulk
from dashboard.pages.unmatched.opportunities import create_choice as create_choice
from dashboard.pages.unmatched.opportunities import delete_choice as delete_choice
from dashboard.pages.unmatched.page import unmatched as unmatched
