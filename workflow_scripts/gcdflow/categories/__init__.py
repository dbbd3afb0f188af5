"""What a person gets: a category for every image, and a page that shows them.

May import: clustering, data, files, errors.
"""
