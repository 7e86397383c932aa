"""Reading detectors that were trained elsewhere, for import_model.py."""
