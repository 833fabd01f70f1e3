"""What a study has shown at one moment: snapshot, warnings, importance, forecast."""
