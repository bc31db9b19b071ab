"""Gates: is what was found in a picture the part of the body that the bundles know?"""
