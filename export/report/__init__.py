"""What people read of a bundle: ``python -m export report --bundle DIR``, one HTML page of its evidence.

`material` reads the evidence; `figures` draws it; `findings` says in words what it allows to be said; `page` with
`bundle.html.jinja` puts them together.
"""
