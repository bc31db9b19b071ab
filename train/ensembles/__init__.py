"""Members' scores to one: fitted on members' inner held-back scores, judged on radiographs that none of them has seen.

``fit`` makes the records that the runtime combines members by; ``members`` scores radiographs with linear classifiers
and forests; ``nested`` is the cross-validation around both.
"""
