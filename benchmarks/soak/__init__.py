"""A site and its workers under a steady load for a long time: does anything grow?"""
