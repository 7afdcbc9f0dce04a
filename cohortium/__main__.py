"""`python -m cohortium` is the command line."""

from cohortium.cli import main

if __name__ == "__main__":
    main()
