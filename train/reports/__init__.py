"""What people read of finished runs: ``python -m train report RUN`` and ``python -m train compare RUN RUN``.

`comparison` sets two systems against each other on the radiographs that both have scored; `material` reads a run's
folder; `tables` are its results as CSV and XLSX; `headline` says in words what the numbers allow to be said; `page` with
`page.html.jinja` is the HTML report; `learning` measures performance against the number of training radiographs;
`coverage` tells how often the bootstrap intervals hold the truth.
"""
