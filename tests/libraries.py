"""What programs of the tests import that asks for no settings and nothing of the environment.

``tests.forks`` imports it once for all of them.
"""
# ruff: noqa: F401

import celery.apps.worker
import celery.backends.redis
import celery.bin.celery
import celery.concurrency.prefork
import celery.worker.consumer
import django.contrib.admin
import django.contrib.humanize.templatetags.humanize
import django.core.cache.backends.memcached
import django.core.cache.backends.redis
import django.core.management.commands.makemigrations
import django.core.management.commands.migrate
import django.db.backends.sqlite3.base
import django.db.migrations.autodetector
import django.test
import django_redis.cache
import kombu.transport.redis
import psutil
import pymemcache
import pytest
import reportlab.platypus
import valkey
