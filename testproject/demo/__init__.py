"""``make demo``: the whole site on this machine, with nothing to set up.

``python -m testproject.demo`` starts it for a person, ``--check`` plays the story
without one.
"""
