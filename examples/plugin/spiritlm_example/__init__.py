"""Parts of another package for spiritlm-pl, each in its smallest form."""
