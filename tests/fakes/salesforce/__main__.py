"""Run the fake org as a process: python -m tests.fakes.salesforce --port N --state FILE --ca FILE."""

from ..server import run
from .org import FakeSalesforce

if __name__ == "__main__":
    run(lambda port: FakeSalesforce(port=port))
