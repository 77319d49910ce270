"""How fast the app is beside a plain Celery task, bare Redis and four other packages."""
