"""``python -m mishards``."""

from mishards.cli import main

if __name__ == "__main__":
    main(prog_name="mishards")
