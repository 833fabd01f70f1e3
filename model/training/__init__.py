"""Training one configuration until the clock says stop."""
