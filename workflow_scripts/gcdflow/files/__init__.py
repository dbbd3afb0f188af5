"""How files are written, read, checked and owned, whatever stage they belong to.

May import: errors.
"""
