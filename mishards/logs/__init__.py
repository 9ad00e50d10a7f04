"""What the programs write down: one line for each call, and where all lines go."""
