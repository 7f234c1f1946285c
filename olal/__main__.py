"""`python -m olal` is `olal`."""

from olal.cli import main

if __name__ == "__main__":
    main()
