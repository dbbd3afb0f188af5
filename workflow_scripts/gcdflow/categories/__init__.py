"""Results for users: a category for every image, and a page that shows the categories.

May import: clustering, data, files, errors.
"""
