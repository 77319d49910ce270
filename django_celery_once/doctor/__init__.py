"""Examinations of a set-up, live: what ``once_doctor`` tells."""
