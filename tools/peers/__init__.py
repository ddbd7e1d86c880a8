"""Code of others that ours is measured against."""
