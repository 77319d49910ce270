"""A project of two tenants, with django-tenants and tenant-schemas-celery, to be run by itself."""
