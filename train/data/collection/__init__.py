"""From what a hospital exports to a folder that training reads.

``config`` says what the hospital calls things; ``table`` reads its table, ``films`` finds the pictures, ``joining`` says whose
each one is and what is wrong; ``writing`` copies what is left under names that tell nothing of a patient.
"""
