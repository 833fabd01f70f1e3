"""Trained models as files: checkpoint, safetensors folder, zip bundle."""
