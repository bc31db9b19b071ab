"""What is learnt from: labelled radiographs, their knees, and the folds that keep a patient together."""
