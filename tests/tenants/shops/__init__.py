"""The tenants: shops, each with a schema of its own."""
