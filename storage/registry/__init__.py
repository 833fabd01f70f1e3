"""Registry of a study's workers, and attributes of the study itself."""
