"""Networks that grade a knee: ordered labels, thousands of knees, an official split by patient.

``python -m train fit``, with a configuration of grades, fits a whole network, keeps a moving average of its weights, and judges
it on the validation patients.
"""
