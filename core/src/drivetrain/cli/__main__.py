"""``python -m drivetrain.cli``: the command line, where its script is not on the path."""

from drivetrain.cli.program import main

if __name__ == "__main__":
    main()
