"""Whether a folder of labelled radiographs can be trusted: copies, contradictions, leaks, shortcuts.

Rooms: `descriptors` (one picture made comparable), `candidates` (which pairs deserve a look), `registration`
(is one picture made from the other), `duplicates` (all pairs of a folder, and their groups), `findings` (what is
wrong with labels, groups and splits), `shortcuts` (what can be guessed without a knee), `pictures` and `page` (the
report), `examination` (the whole audit), `planted` (precision and recall on twins that were planted), `commands`.
"""
