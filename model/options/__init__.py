"""Settings of the network: the plain transformer's, and a file for each option that adds to it; none imports torch."""
