"""What a run is: its settings, its folder, what it keeps while it works and the scores that it leaves behind."""
