"""Experiments that answered a question of their own: ``python -m train research --help``.

Nothing on the way to a bundle imports this room; it imports whatever it needs.
"""
