"""The demo's settings, with a choice of how slow it is and where its messages are kept."""

from testproject.settings import *  # noqa: F403
from testproject.settings import MIDDLEWARE as _MIDDLEWARE

MIDDLEWARE = ["tests.browser.slowness.slow", *_MIDDLEWARE]
MESSAGE_STORAGE = "tests.browser.slowness.storage"
