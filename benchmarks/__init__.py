"""What is measured, against which yardstick: scripts, and modules of theirs that tests use too."""
