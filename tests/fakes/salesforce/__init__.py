"""A strict fake Salesforce org: OAuth, REST, SOQL, composite, collections, Bulk API 2.0 and Chatter over TLS."""

from .org import FakeSalesforce
from .schema import Field

__all__ = ["FakeSalesforce", "Field"]
