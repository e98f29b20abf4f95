"""What `make` runs: set-up and measurements. Not part of the installed package."""
