"""The product's settings without any middleware: for the bare view that benchmarks measure against."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "config.benchmarks.bare"
INSTALLED_APPS = ["billing"]
MIDDLEWARE = []
