"""Results for users: a category for every image, and a page that shows the categories."""
