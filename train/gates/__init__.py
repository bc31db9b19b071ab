"""The gate behind the finder: is what was found a knee, from the front, alone?

Rooms: `drawn` (pictures without a knee that nobody photographed), `bones` (other joints, drawn), `pictures` (what there is
of knees and of anything else, by kind and clinic), `windows` (what the finder hits in them, cut as the gate sees it),
`network` (the small network), `judgement` (kinds and clinics left out in turn), `commands`.
"""
