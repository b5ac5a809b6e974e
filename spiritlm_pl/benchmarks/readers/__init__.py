"""Readers of the files that people download, one module a family; each tells the layouts of its family apart."""
