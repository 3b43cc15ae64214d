"""The lungs, as the bundle ct_lung_density outlines them; the files are the same."""
