"""What is advised without a picture: published risk scores, computed or not and why, and one next step."""
