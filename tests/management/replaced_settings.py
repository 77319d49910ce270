"""The tests' settings with what ``TEST_SETTINGS``, a JSON object, replaces."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403

globals().update(json.loads(os.environ.get("TEST_SETTINGS", "{}")))
