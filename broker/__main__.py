"""`python -m broker`, and the `broker` command."""

from broker.cli import main

if __name__ == "__main__":
    main()
