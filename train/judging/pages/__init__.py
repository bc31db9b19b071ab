"""What people read of finished runs: ``python -m train report RUN``.

`reading` reads a run's folder; `tables` are its results as CSV and XLSX; `headline` says in words what the numbers allow to
be said; `page` with `page.html.jinja` is the HTML report, and `figures` draws for it.
"""
