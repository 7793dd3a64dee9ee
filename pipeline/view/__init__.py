"""A page that shows a store in motion: a small server on this machine, and the page it serves."""
