"""Where pictures come in by themselves and answers go out: one worker for folders, modalities and whatever else brings them."""
