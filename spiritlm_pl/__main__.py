"""`python -m spiritlm_pl` is the `spiritlm` command."""

from spiritlm_pl.cli.main import main

if __name__ == "__main__":
    main()
