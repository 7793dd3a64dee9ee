"""A page that plays the videos of a store: a small server on this machine, and the page itself."""
